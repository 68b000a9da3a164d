// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// template is the ARN of a launch template there.
func (p Location) LaunchTemplateARN(id string) string {
	return "arn:" + PartitionOf(p.Region) + ":ec2:" + p.Region + ":" + p.Account + ":launch-template/" + id
}

// Place is an account in a Region: where a step happens, with that account's rights.
type Location struct{ Account, Region string }

func (p Location) String() string { return p.Account + " " + p.Region }

// MarshalText lets a Place be the key of a JSON object.
func (p Location) MarshalText() ([]byte, error) { return []byte(p.Key()), nil }

func (p Location) Key() string { return p.Account + "/" + p.Region }

// Compare orders places by account, then Region.
func (p Location) Compare(o Location) int { return cmp.Compare(p.Key(), o.Key()) }

// image is the ARN of an image there, as IAM asks for it; "" stands for any id (2.5.5).
func (p Location) ImageARN(id string) string { return p.ResourceARN("image", id) }

// snapshot is the ARN of a snapshot there, as IAM asks for it; "" stands for any id (6.5).
func (p Location) SnapshotARN(id string) string { return p.ResourceARN("snapshot", id) }

// owned is the ARN of a thing that belongs to the account there, as IAM asks for it; "" stands for any id.
func (p Location) OwnedARN(kind, id string) string {
	return "arn:" + PartitionOf(p.Region) + ":ec2:" + p.Region + ":" + p.Account + ":" + kind + "/" + cmp.Or(id, "*")
}

func (p Location) ResourceARN(kind, id string) string {
	return "arn:" + PartitionOf(p.Region) + ":ec2:" + p.Region + "::" + kind + "/" + cmp.Or(id, "*")
}

// partitions are those of the SDK's own metadata, each with the names of its Regions. The form is judged, not a list of
// names: Regions that are opened later are not refused.
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

// PartitionOf is the partition of a Region, by the form of its name; "" for what is no name of a Region.
func PartitionOf(region string) string {
	for _, partition := range partitions {
		if partition.regions.MatchString(region) {
			return partition.name
		}
	}
	return ""
}

// parameter is the ARN of an SSM parameter there: one whose name begins with a slash brings it along.
func (p Location) ParameterARN(name string) string {
	return "arn:" + PartitionOf(p.Region) + ":ssm:" + p.Region + ":" + p.Account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// regionOf is the Region in an ARN; "" when the text is none.
func ARNRegion(text string) string {
	parsed, err := arn.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.Region
}

// accountOf is the account in an ARN; "" when the text is none.
func ARNAccount(text string) string {
	parsed, err := arn.Parse(text)
	if err != nil {
		return ""
	}
	return parsed.AccountID
}
