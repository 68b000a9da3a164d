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

// registerImage makes the image from the destination's own copies. The image is available at once (2.5.6).
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
	return StepOutcome{ID: j.state.resourceID, SnapshotIDs: j.state.snapshotIDs, Unsigned: j.state.isSigningDenied, Err: err}
}

func (t *executor) register(ctx context.Context, j *stepRun, s *step.RegisterImage, in *ec2.RegisterImageInput) (string, error) {
	find := func(ctx context.Context) (string, error) { return t.findImage(ctx, j, s) }
	id, err := t.callOnce(ctx, j, find, func(ctx context.Context) (string, error) {
		made, err := t.pool.EC2(s.Location).RegisterImage(ctx, in)
		if err != nil {
			return "", err
		}
		return aws.ToString(made.ImageId), nil
	})
	switch {
	case awsclient.IsNameTaken(err):
		if j.state.responseLost { // by the call whose answer was lost, perhaps, seen late
			if found, lookErr := find(ctx); lookErr == nil && found != "" {
				return found, nil
			}
		}
		taken, unproven, lookErr := t.adoptImage(ctx, j, s)
		switch {
		case lookErr == nil && taken != "":
			return taken, nil
		case errors.As(lookErr, new(retryAfter)):
			err = lookErr
		case (j.state.responseLost || unproven) && j.keepPolling():
			err = retryAfter{step.Backoff(j.state.polls)}
		}
	case awsclient.IsNotFound(err) && j.keepPolling(): // a copy that AWS shows as completed and does not know yet (4.4.3)
		err = retryAfter{step.Backoff(j.state.polls)}
	}
	return id, err
}

// findImage looks for the image whose answer was lost: it has the name, the tags of this run, and exactly this step's
// snapshots. What else of it may differ is verified before it is published.
func (t *executor) findImage(ctx context.Context, j *stepRun, s *step.RegisterImage) (string, error) {
	tags := s.Signing.CreationTags()
	filters := []ec2types.Filter{
		{Name: aws.String("tag:" + provenance.TagSource), Values: []string{tags[provenance.TagSource]}},
		{Name: aws.String("tag:" + provenance.TagRun), Values: []string{tags[provenance.TagRun]}},
	}
	found := ""
	err := eachImage(ctx, t.pool.EC2(s.Location), filters, func(image ec2types.Image) {
		isOwn := aws.ToString(image.Name) == s.Name && image.SourceImageId == nil && maps.Equal(snapshotsByDevice(image), j.state.snapshotIDs)
		if _, isSigned := tagsOf(image.Tags)[provenance.TagSignature]; isOwn && !isSigned {
			found = aws.ToString(image.ImageId)
		}
	})
	if found != "" {
		t.recordCreatedID(found)
	}
	return found, err
}

// registration carries every attribute over that RegisterImage takes (rule 2.4), with the destination's snapshots by device.
func registerImageInput(s *step.RegisterImage, snapshots map[string]string) (*ec2.RegisterImageInput, error) {
	devices, err := deviceMappings(s.Source, snapshots)
	if err != nil {
		return nil, err
	}
	from := s.Source
	in := &ec2.RegisterImageInput{
		Name:                aws.String(s.Name),
		Architecture:        from.Architecture,
		BlockDeviceMappings: devices,
		BootMode:            from.BootMode,
		EnaSupport:          from.EnaSupport,
		ImdsSupport:         from.ImdsSupport,
		KernelId:            from.KernelId,
		RamdiskId:           from.RamdiskId,
		RootDeviceName:      from.RootDeviceName,
		SriovNetSupport:     from.SriovNetSupport,
		TagSpecifications:   tagSpecifications(ec2types.ResourceTypeImage, s.Tags),
		TpmSupport:          from.TpmSupport,
	}
	if from.VirtualizationType != "" {
		in.VirtualizationType = aws.String(string(from.VirtualizationType))
	}
	if s.Description != "" { // an empty one is no description (2.2.10)
		in.Description = aws.String(s.Description)
	}
	if s.UEFIData != "" {
		in.UefiData = aws.String(s.UEFIData)
	}
	return in, nil
}

// devicesOf are the source's block devices, each with the destination's snapshot in place of the source's. Encryption is never
// named with a snapshot: the snapshot has it (1.5.1, 1.5.4).
func deviceMappings(image ec2types.Image, snapshots map[string]string) ([]ec2types.BlockDeviceMapping, error) {
	devices := make([]ec2types.BlockDeviceMapping, 0, len(image.BlockDeviceMappings))
	for _, from := range image.BlockDeviceMappings {
		device := ec2types.BlockDeviceMapping{DeviceName: from.DeviceName, VirtualName: from.VirtualName, NoDevice: from.NoDevice}
		if e := from.Ebs; e != nil {
			device.Ebs = &ec2types.EbsBlockDevice{
				DeleteOnTermination:      e.DeleteOnTermination,
				Iops:                     e.Iops,
				Throughput:               e.Throughput,
				VolumeInitializationRate: e.VolumeInitializationRate,
				VolumeSize:               e.VolumeSize,
				VolumeType:               e.VolumeType,
			}
			if e.SnapshotId == nil {
				device.Ebs.Encrypted = e.Encrypted // an empty volume may be declared encrypted (1.5.5)
			} else {
				name := aws.ToString(from.DeviceName)
				if snapshots[name] == "" {
					return nil, fmt.Errorf("there is no copy of %s to register %s with", aws.ToString(e.SnapshotId), name)
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
