// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// Location is an account in a Region. A step runs there with credentials of that account.
type Location struct{ Account, Region string }

func (l Location) String() string { return l.Account + " " + l.Region }

// MarshalText returns Key, so that a Location can be the key of a JSON object.
func (l Location) MarshalText() ([]byte, error) { return []byte(l.Key()), nil }

// Key returns the location as part of a step id or JSON key: "999999999999/eu-west-1".
func (l Location) Key() string { return l.Account + "/" + l.Region }

// Compare orders locations by account, then by Region.
func (l Location) Compare(o Location) int { return cmp.Compare(l.Key(), o.Key()) }

// ImageARN returns the ARN of an image in IAM policies (2.5.5). An empty id matches every image.
func (l Location) ImageARN(id string) string { return l.ResourceARN("image", id) }

// SnapshotARN returns the ARN of a snapshot in IAM policies (6.5). An empty id matches every snapshot.
func (l Location) SnapshotARN(id string) string { return l.ResourceARN("snapshot", id) }

// OwnedARN returns the ARN of an EC2 resource with its account. An empty id matches every resource of the kind.
func (l Location) OwnedARN(kind, id string) string {
	return l.arn("ec2", l.Account, kind+"/"+cmp.Or(id, "*"))
}

// ResourceARN returns the ARN of an EC2 resource without an account, as for images and snapshots. An empty id matches
// every resource of the kind.
func (l Location) ResourceARN(kind, id string) string {
	return l.arn("ec2", "", kind+"/"+cmp.Or(id, "*"))
}

// LaunchTemplateARN returns the ARN of a launch template.
func (l Location) LaunchTemplateARN(id string) string {
	return l.arn("ec2", l.Account, "launch-template/"+id)
}

func (l Location) arn(service, account, resource string) string {
	return strings.Join([]string{"arn", PartitionOf(l.Region), service, l.Region, account, resource}, ":")
}

// partitions are the partitions in the SDK's metadata. Their patterns match the form of Region names, so that future
// Regions match too.
var partitions = []struct {
	name    string
	regions *regexp.Regexp
}{
	{"aws", regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)\-\w+\-\d+$`)},
	{"aws-cn", regexp.MustCompile(`^cn\-\w+\-\d+$`)},
	{"aws-eusc", regexp.MustCompile(`^eusc\-(de)\-\w+\-\d+$`)},
	{"aws-iso", regexp.MustCompile(`^us\-iso\-\w+\-\d+$`)},
	{"aws-iso-b", regexp.MustCompile(`^us\-isob\-\w+\-\d+$`)},
	{"aws-iso-e", regexp.MustCompile(`^eu\-isoe\-\w+\-\d+$`)},
	{"aws-iso-f", regexp.MustCompile(`^us\-isof\-\w+\-\d+$`)},
	{"aws-us-gov", regexp.MustCompile(`^us\-gov\-\w+\-\d+$`)},
}

// PartitionOf returns the partition of a Region by the form of its name. Empty if the text is not the name of a Region.
func PartitionOf(region string) string {
	for _, partition := range partitions {
		if partition.regions.MatchString(region) {
			return partition.name
		}
	}
	return ""
}

// ARNRegion returns the Region of an ARN. Empty if the text is not an ARN.
func ARNRegion(text string) string {
	parsed, err := arn.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.Region
}

// ARNAccount returns the account of an ARN. Empty if the text is not an ARN.
func ARNAccount(text string) string {
	parsed, err := arn.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.AccountID
}

// RetiredSourceARN returns the ARN of what keeps the signing keys of a deregistered source image.
func (l Location) RetiredSourceARN(imageID string) string {
	return l.arn("ssm", l.Account, "parameter"+provenance.RetiredSourceName(imageID))
}
