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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// maxConcurrentAccounts is how many accounts are queried at the same time before a build.
const maxConcurrentAccounts = 10

// intent looks up the base AMI of a build, and the settings and keys that determine the encryption of its image.
func (s *survey) intent(ctx context.Context) error {
	home := distribution.Location{Account: s.facts.Source.Account, Region: s.req.Build.Region}
	s.base(ctx, home)
	s.protectedNamesakes(ctx)
	err := s.each(ctx, len(s.req.Images), func(ctx context.Context, i int) {
		at := distribution.Location{Account: home.Account, Region: s.req.Images[i].Region}
		defaultKey := s.ebsDefaults(ctx, at).KMSKeyID
		s.keys(ctx, at, defaultKey, plan.SourceKey(s.req, at.Region), s.req.Intent.RegionKMSKeyIDs[at.Region])
	})
	if err != nil {
		return err
	}

	s.keys(ctx, home, s.req.Intent.KMSKeyID)
	for _, v := range s.req.Intent.Launch {
		s.keys(ctx, home, v.KMSKeyID)
	}
	images, _ := plan.Assess(s.req, s.facts).Predict() // Decide returns the findings
	s.facts.Images = images
	return s.each(ctx, len(s.req.Images), func(ctx context.Context, i int) {
		at := distribution.Location{Account: home.Account, Region: s.req.Images[i].Region}
		snapshots := images[at.Region].Snapshots
		for _, id := range slices.Sorted(maps.Keys(snapshots)) {
			s.keys(ctx, at, aws.ToString(snapshots[id].KmsKeyId))
		}
	})
}

// protectedNamesakes looks up images that have the AMI name of the build and are protected against deregistration.
func (s *survey) protectedNamesakes(ctx context.Context) {
	if s.req.Intent.AMIName == "" {
		return
	}
	s.facts.ProtectedNamesakes = map[string]string{}
	for _, image := range s.req.Images {
		at := distribution.Location{Account: s.facts.Source.Account, Region: image.Region}
		out, err := s.pool.EC2(at).DescribeImages(ctx, &ec2.DescribeImagesInput{
			Owners:  []string{"self"},
			Filters: []ec2types.Filter{{Name: aws.String("name"), Values: []string{s.req.Intent.AMIName}}},
		})
		if err != nil {
			s.lookupFailed(at, s.req.Intent.AMIName, "ec2:DescribeImages", err)
			continue
		}
		isProtected := func(i ec2types.Image) bool {
			return aws.ToString(i.Name) == s.req.Intent.AMIName && step.IsProtected(i)
		}
		if i := slices.IndexFunc(out.Images, isProtected); i >= 0 {
			s.facts.ProtectedNamesakes[image.Region] = aws.ToString(out.Images[i].ImageId)
		}
	}
}

// base looks up the base AMI as amazon-ebs does, and its snapshots.
func (s *survey) base(ctx context.Context, at distribution.Location) {
	client, intent := s.pool.EC2(at), s.req.Intent
	out, err := client.DescribeImages(ctx, describeBaseInput(*intent))
	if err != nil {
		s.lookupFailed(at, intent.BaseAMI, "ec2:DescribeImages", err)
		return
	}
	s.facts.BaseMatches = len(out.Images)
	if len(out.Images) == 0 || len(out.Images) > 1 && !intent.Filter.MostRecent {
		return
	}

	image := slices.MaxFunc(out.Images, func(a, b ec2types.Image) int { // the dates have the same length
		return cmp.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
	})
	launched := withLaunchSnapshots(image, intent.Launch)
	s.facts.Base = distribution.Image{Base: &image, BaseSnapshots: s.snapshots(ctx, client, at, &launched)}

	// The call is denied for another account's image (2.2.11). The image of the build has no UEFI data then either.
	uefi, err := client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
		ImageId:   image.ImageId,
		Attribute: ec2types.ImageAttributeNameUefiData,
	})
	if err == nil && uefi.UefiData != nil {
		s.facts.Base.UEFIData = aws.ToString(uefi.UefiData.Value)
	}
}

func describeBaseInput(c distribution.BuildConfig) *ec2.DescribeImagesInput {
	if c.BaseAMI != "" {
		return &ec2.DescribeImagesInput{ImageIds: []string{c.BaseAMI}, IncludeDeprecated: aws.Bool(true)}
	}
	in := &ec2.DescribeImagesInput{
		Owners:            c.Filter.Owners,
		IncludeDeprecated: aws.Bool(c.Filter.IncludeDeprecated),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Filter.Filters)) {
		filter := ec2types.Filter{Name: aws.String(name), Values: []string{c.Filter.Filters[name]}}
		in.Filters = append(in.Filters, filter)
	}
	return in
}

// withLaunchSnapshots returns an image with the snapshots of launch_block_device_mappings added.
func withLaunchSnapshots(image ec2types.Image, volumes []distribution.LaunchVolume) ec2types.Image {
	image.BlockDeviceMappings = slices.Clone(image.BlockDeviceMappings)
	for _, v := range volumes {
		if v.SnapshotID == "" {
			continue
		}
		image.BlockDeviceMappings = append(image.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			Ebs: &ec2types.EbsBlockDevice{SnapshotId: aws.String(v.SnapshotID)},
		})
	}
	return image
}
