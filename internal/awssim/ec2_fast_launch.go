// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// enableFastLaunch accepts only Windows images and at least six parallel launches (rule 9.0). The error codes are
// inferred. The snapshots that AWS would create are not modeled, so the state stays "enabling".
func (w *World) enableFastLaunch(c *Call, in *ec2.EnableFastLaunchInput) (*ec2.EnableFastLaunchOutput, error) {
	err := refuseUnmodeled(in, "ImageId", "LaunchTemplate", "MaxParallelLaunches", "ResourceType", "SnapshotConfiguration")
	if err != nil {
		return nil, err
	}

	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	switch {
	case w.violates(c, "9.0", !i.platform.isWindows()):
		return nil, badRequest("InvalidParameterValue", "The image %s is not a Windows image.", i.id)
	case w.violates(c, "9.0", in.MaxParallelLaunches != nil && *in.MaxParallelLaunches < 6):
		return nil, badRequest("InvalidParameterValue", "MaxParallelLaunches must be 6 or greater.")
	case aws.ToString(in.ResourceType) != "" && *in.ResourceType != string(types.FastLaunchResourceTypeSnapshot):
		return nil, badRequest("InvalidParameterValue", "The resource type %s is not supported.", *in.ResourceType)
	}

	on := types.DescribeFastLaunchImagesSuccessItem{
		ImageId:             &i.id,
		OwnerId:             &i.location.account,
		ResourceType:        types.FastLaunchResourceTypeSnapshot,
		State:               types.FastLaunchStateCodeEnabling,
		StateTransitionTime: aws.Time(c.At),
		MaxParallelLaunches: in.MaxParallelLaunches,
	}

	if in.MaxParallelLaunches == nil {
		on.MaxParallelLaunches = aws.Int32(6)
	}

	if in.SnapshotConfiguration != nil {
		on.SnapshotConfiguration = &types.FastLaunchSnapshotConfigurationResponse{
			TargetResourceCount: in.SnapshotConfiguration.TargetResourceCount,
		}
	}

	if named := in.LaunchTemplate; named != nil {
		t, err := w.authorizeTemplate(c, named.LaunchTemplateId, named.LaunchTemplateName)
		if err != nil {
			return nil, err
		}
		if _, err := t.findVersion(w, c, aws.ToString(named.Version)); err != nil {
			return nil, err
		}
		on.LaunchTemplate = &types.FastLaunchLaunchTemplateSpecificationResponse{
			LaunchTemplateId: t.metadata.LaunchTemplateId, LaunchTemplateName: t.metadata.LaunchTemplateName,
			Version: named.Version,
		}
	}

	i.fastLaunch = &on
	return &ec2.EnableFastLaunchOutput{
		ImageId:               on.ImageId,
		LaunchTemplate:        on.LaunchTemplate,
		MaxParallelLaunches:   on.MaxParallelLaunches,
		OwnerId:               on.OwnerId,
		ResourceType:          on.ResourceType,
		SnapshotConfiguration: on.SnapshotConfiguration,
		State:                 on.State,
		StateTransitionTime:   on.StateTransitionTime,
	}, nil
}

func (w *World) describeFastLaunchImages(
	c *Call, in *ec2.DescribeFastLaunchImagesInput,
) (*ec2.DescribeFastLaunchImagesOutput, error) {
	if err := refuseUnmodeled(in, "ImageIds"); err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	out := &ec2.DescribeFastLaunchImagesOutput{}
	for _, i := range w.images.all {
		if i.location == c.location() && !i.deregistered && i.fastLaunch != nil && (len(in.ImageIds) == 0 ||
			slices.Contains(in.ImageIds, i.id)) {
			out.FastLaunchImages = append(out.FastLaunchImages, *i.fastLaunch)
		}
	}

	return out, nil
}
