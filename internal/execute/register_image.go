// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// registerImage registers the image with the destination's own copies. The image is available at once (rule 2.5.6).
func (t *executor) registerImage(ctx context.Context, j *stepRun, s *step.RegisterImage) StepOutcome {
	if err := t.deleteDuplicates(ctx, j, s); err != nil {
		return StepOutcome{Err: err}
	}

	in, err := registerImageInput(s, j.state.snapshotIDs)
	if err != nil {
		return StepOutcome{Err: err}
	}

	if j.state.resourceID == "" {
		if j.state.resourceID, err = t.register(ctx, j, s, in); err != nil {
			return StepOutcome{Err: err}
		}
	}

	if j.state.adopted {
		return StepOutcome{ID: j.state.resourceID, SnapshotIDs: j.state.snapshotIDs, Adopted: true}
	}

	err = t.sign(ctx, j, s.Signing)
	return StepOutcome{
		ID:          j.state.resourceID,
		SnapshotIDs: j.state.snapshotIDs,
		Unsigned:    j.state.isSigningDenied,
		Err:         err,
	}
}

func (t *executor) register(
	ctx context.Context,
	j *stepRun,
	s *step.RegisterImage,
	in *ec2.RegisterImageInput,
) (string, error) {
	find := func(ctx context.Context) (string, error) { return t.findImage(ctx, j, s) }
	id, err := t.callOnce(ctx, j, find, func(ctx context.Context) (string, error) {
		output, err := t.pool.EC2(s.Location).RegisterImage(ctx, in)
		if err != nil {
			return "", err
		}
		return aws.ToString(output.ImageId), nil
	})

	switch {
	case awsclient.IsNameTaken(err):
		if j.state.responseLost { // the call whose response was lost may have succeeded
			if found, lookErr := find(ctx); lookErr == nil && found != "" {
				return found, nil
			}
		}

		adopted, isUnproven, lookErr := t.adoptImage(ctx, j, s)
		switch {
		case lookErr == nil && adopted != "":
			return adopted, nil
		case errors.As(lookErr, new(retryAfter)):
			err = lookErr
		case (j.state.responseLost || isUnproven) && j.keepPolling():
			err = retryAfter{step.Backoff(j.state.polls)}
		}
	case awsclient.IsNotFound(err) && j.keepPolling():
		// AWS may show a copy as completed before RegisterImage knows it (rule 4.4.3)
		err = retryAfter{step.Backoff(j.state.polls)}
	}

	return id, err
}

// findImage looks for the image of a call whose response was lost. It has the name, this run's tags, and exactly
// the snapshots of this step. A later step verifies its other attributes.
func (t *executor) findImage(ctx context.Context, j *stepRun, s *step.RegisterImage) (string, error) {
	tags := s.Signing.CreationTags()
	filters := []ec2types.Filter{
		{Name: aws.String("tag:" + provenance.TagSource), Values: []string{tags[provenance.TagSource]}},
		{Name: aws.String("tag:" + provenance.TagRun), Values: []string{tags[provenance.TagRun]}},
	}
	id := ""
	err := eachImage(ctx, t.pool.EC2(s.Location), filters, func(image ec2types.Image) {
		isOwn := aws.ToString(image.Name) == s.Name && image.SourceImageId == nil &&
			maps.Equal(snapshotsByDevice(image), j.state.snapshotIDs)
		if _, isSigned := tagsOf(image.Tags)[provenance.TagSignature]; isOwn && !isSigned {
			id = aws.ToString(image.ImageId)
		}
	})

	if id != "" {
		t.recordCreatedID(id)
	}

	return id, err
}

// registerImageInput returns the call. It copies all attributes of the source that RegisterImage takes (rule 2.4).
func registerImageInput(s *step.RegisterImage, snapshots map[string]string) (*ec2.RegisterImageInput, error) {
	devices, err := deviceMappings(s.Source, snapshots)
	if err != nil {
		return nil, err
	}

	source := s.Source
	in := &ec2.RegisterImageInput{
		Name:                aws.String(s.Name),
		Architecture:        source.Architecture,
		BlockDeviceMappings: devices,
		BootMode:            source.BootMode,
		EnaSupport:          source.EnaSupport,
		ImdsSupport:         source.ImdsSupport,
		KernelId:            source.KernelId,
		RamdiskId:           source.RamdiskId,
		RootDeviceName:      source.RootDeviceName,
		SriovNetSupport:     source.SriovNetSupport,
		TagSpecifications:   tagSpecifications(ec2types.ResourceTypeImage, s.Tags),
		TpmSupport:          source.TpmSupport,
	}

	if source.VirtualizationType != "" {
		in.VirtualizationType = aws.String(string(source.VirtualizationType))
	}

	if s.Description != "" { // AWS refuses an empty one (rule 2.2.10)
		in.Description = aws.String(s.Description)
	}

	if s.UEFIData != "" {
		in.UefiData = aws.String(s.UEFIData)
	}

	return in, nil
}

// deviceMappings returns the source's block devices with the destination's snapshots. It leaves out Encrypted where
// there is a snapshot, because the snapshot determines it (rules 1.5.1 and 1.5.4).
func deviceMappings(image ec2types.Image, snapshots map[string]string) ([]ec2types.BlockDeviceMapping, error) {
	devices := make([]ec2types.BlockDeviceMapping, 0, len(image.BlockDeviceMappings))
	for _, from := range image.BlockDeviceMappings {
		device := ec2types.BlockDeviceMapping{
			DeviceName:  from.DeviceName,
			VirtualName: from.VirtualName,
			NoDevice:    from.NoDevice,
		}

		if ebs := from.Ebs; ebs != nil {
			device.Ebs = &ec2types.EbsBlockDevice{
				DeleteOnTermination:      ebs.DeleteOnTermination,
				Iops:                     ebs.Iops,
				Throughput:               ebs.Throughput,
				VolumeInitializationRate: ebs.VolumeInitializationRate,
				VolumeSize:               ebs.VolumeSize,
				VolumeType:               ebs.VolumeType,
			}
			if ebs.SnapshotId == nil {
				device.Ebs.Encrypted = ebs.Encrypted // allowed for a volume without a snapshot (rule 1.5.5)
			} else {
				name := aws.ToString(from.DeviceName)
				if snapshots[name] == "" {
					return nil, fmt.Errorf("there is no copy of %s to register %s with", aws.ToString(ebs.SnapshotId), name)
				}
				device.Ebs.SnapshotId = aws.String(snapshots[name])
			}
		}

		devices = append(devices, device)
	}

	slices.SortFunc(devices, func(a, b ec2types.BlockDeviceMapping) int {
		return strings.Compare(aws.ToString(a.DeviceName), aws.ToString(b.DeviceName))
	})
	return devices, nil
}
