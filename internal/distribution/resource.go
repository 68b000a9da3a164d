// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// SnapshotResource converts a snapshot to a provenance.Resource.
func SnapshotResource(at Location, s ec2types.Snapshot) provenance.Resource {
	r := provenance.Resource{
		Kind:        provenance.Snapshot,
		ID:          aws.ToString(s.SnapshotId),
		Account:     at.Account,
		Region:      at.Region,
		Created:     aws.ToTime(s.StartTime),
		Tags:        TagMap(s.Tags),
		Description: aws.ToString(s.Description),
	}
	if s.State == ec2types.SnapshotStateCompleted { // a pending copy shows no key (rule 4.6.1)
		r.KeyARN = aws.ToString(s.KmsKeyId)
	}
	return r
}

// ImageResource converts an image to a provenance.Resource, with its snapshots that AWS shows.
func ImageResource(
	at Location, image ec2types.Image, snapshots map[string]ec2types.Snapshot, expected provenance.Expected,
) provenance.Resource {
	r := provenance.Resource{
		Kind:          provenance.Image,
		ID:            aws.ToString(image.ImageId),
		Account:       at.Account,
		Region:        at.Region,
		Created:       parseTime(image.CreationDate),
		Tags:          TagMap(image.Tags),
		Name:          aws.ToString(image.Name),
		SourceImageID: aws.ToString(image.SourceImageId),
		Expected:      expected,
	}
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		snapshot, ok := snapshots[*m.Ebs.SnapshotId]
		if !ok {
			snapshot = ec2types.Snapshot{SnapshotId: m.Ebs.SnapshotId}
		}
		r.Snapshots = append(r.Snapshots, SnapshotResource(at, snapshot))
	}
	return r
}

// InstanceResource converts an instance to a provenance.Resource.
func InstanceResource(at Location, i ec2types.Instance) provenance.Resource {
	return provenance.Resource{
		Kind:        provenance.Instance,
		ID:          aws.ToString(i.InstanceId),
		Account:     at.Account,
		Region:      at.Region,
		Created:     aws.ToTime(i.LaunchTime),
		Tags:        TagMap(i.Tags),
		ClientToken: aws.ToString(i.ClientToken),
	}
}

// GrantResource converts a grant on a key of an account to a provenance.Resource.
func GrantResource(at Location, g kmstypes.GrantListEntry) provenance.Resource {
	issuer := aws.ToString(g.IssuingAccount)
	if account := ARNAccount(issuer); account != "" {
		issuer = account
	}
	return provenance.Resource{
		Kind:           provenance.Grant,
		ID:             aws.ToString(g.GrantId),
		Account:        at.Account,
		Region:         at.Region,
		Created:        aws.ToTime(g.CreationDate),
		Name:           aws.ToString(g.Name),
		IssuingAccount: issuer,
	}
}

// TagMap returns tags by key.
func TagMap(tags []ec2types.Tag) map[string]string {
	all := make(map[string]string, len(tags))
	for _, tag := range tags {
		all[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return all
}

// parseTime parses a date of EC2. Zero if there is none.
func parseTime(date *string) time.Time {
	parsed, _ := time.Parse(time.RFC3339, aws.ToString(date))
	return parsed
}
