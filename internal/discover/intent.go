// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// accountsAtOnce is how many accounts are looked at side by side before a build.
const accountsAtOnce = 10

// intent looks at what a build is going to start from, and at the settings and keys that decide what becomes of it.
func (s *survey) intent(ctx context.Context) error {
	home := distribution.Location{Account: s.facts.Source.Account, Region: s.req.Build.Region}
	s.base(ctx, home)
	err := s.each(ctx, len(s.req.Images), func(ctx context.Context, i int) {
		at := distribution.Location{Account: home.Account, Region: s.req.Images[i].Region}
		s.keys(ctx, at, s.ebsDefaults(ctx, at).KMSKeyID, plan.SourceKey(s.req, at.Region), s.req.Intent.RegionKMSKeyIDs[at.Region])
	})
	if err != nil {
		return err
	}
	s.keys(ctx, home, s.req.Intent.KMSKeyID)
	for _, v := range s.req.Intent.Launch {
		s.keys(ctx, home, v.KMSKeyID)
	}
	images, _ := plan.Predict(s.req, s.facts) // Decide tells what stands against it
	s.facts.Images = images
	return s.each(ctx, len(s.req.Images), func(ctx context.Context, i int) {
		at := distribution.Location{Account: home.Account, Region: s.req.Images[i].Region}
		snapshots := images[at.Region].Snapshots
		for _, id := range slices.Sorted(maps.Keys(snapshots)) {
			s.keys(ctx, at, aws.ToString(snapshots[id].KmsKeyId))
		}
	})
}

// base finds the image that the build starts from as amazon-ebs does, and its snapshots.
func (s *survey) base(ctx context.Context, at distribution.Location) {
	client, intent := s.pool.EC2(at), s.req.Intent
	in := &ec2.DescribeImagesInput{ImageIds: []string{intent.BaseAMI}, IncludeDeprecated: aws.Bool(true)}
	if intent.BaseAMI == "" {
		in = &ec2.DescribeImagesInput{Owners: intent.Filter.Owners, IncludeDeprecated: aws.Bool(intent.Filter.IncludeDeprecated)}
		for _, name := range slices.Sorted(maps.Keys(intent.Filter.Filters)) {
			in.Filters = append(in.Filters, ec2types.Filter{Name: aws.String(name), Values: []string{intent.Filter.Filters[name]}})
		}
	}
	out, err := client.DescribeImages(ctx, in)
	if err != nil {
		s.lookupFailed(at, intent.BaseAMI, "ec2:DescribeImages", err)
		return
	}
	s.facts.BaseMatches = len(out.Images)
	if len(out.Images) == 0 || len(out.Images) > 1 && !intent.Filter.MostRecent {
		return
	}
	image := slices.MaxFunc(out.Images, func(a, b ec2types.Image) int { // both dates are of one length
		return cmp.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
	})
	launched := image
	launched.BlockDeviceMappings = slices.Clone(image.BlockDeviceMappings)
	for _, v := range intent.Launch {
		if v.SnapshotID != "" {
			launched.BlockDeviceMappings = append(launched.BlockDeviceMappings, ec2types.BlockDeviceMapping{Ebs: &ec2types.EbsBlockDevice{SnapshotId: aws.String(v.SnapshotID)}})
		}
	}
	s.facts.Base = distribution.Image{Base: &image, BaseSnapshots: s.snapshots(ctx, client, at, &launched)}
	uefi, err := client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: image.ImageId, Attribute: ec2types.ImageAttributeNameUefiData})
	if err == nil && uefi.UefiData != nil { // of another account's image it is refused (2.2.11), and no image of ours has it then
		s.facts.Base.UEFIData = aws.ToString(uefi.UefiData.Value)
	}
}
