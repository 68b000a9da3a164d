// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// RegisterImage registers an image from the destination's own snapshots (rules 1.5 and 2.5). DeregisterImage
// reverts it.
type RegisterImage struct {
	Base
	ImageSpec
	Snapshots map[string]Ref // by device
}

func (s *RegisterImage) Permissions() []Permission {
	return []Permission{
		{"ec2:RegisterImage", s.Location.ImageARN("*"), "2.5.5"},
		{"ec2:RegisterImage", s.Location.SnapshotARN("*"), "2.5.5"},
		{"ec2:CreateTags", s.Location.ImageARN("*"), "2.5.5"},
		{"ec2:DescribeImages", "*", "4.4.1"},
	}
}

func (s *RegisterImage) ResourceID() string {
	if s.Source == nil {
		return ""
	}
	return aws.ToString(s.Source.ImageId)
}

func (s *RegisterImage) String() string {
	return fmt.Sprintf(
		"register %q in %s with %s",
		s.Name,
		s.Location,
		distribution.Count(len(s.Snapshots), "volume", "volumes"),
	)
}

func (s *RegisterImage) Doing(w Words) string {
	return fmt.Sprintf("Registering %q in %s", s.Name, w.Location(s.Location))
}

func (s *RegisterImage) Summary() Summary { return Summary{Phrase: Phrase{Text: "register"}} }

func (s *RegisterImage) Result(o Outcome) Result {
	return Result{Created: newCreatedResource(&s.Base, "image", o, "registered, but not verified", s.Location)}
}

var _ = register(&RegisterImage{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*RegisterImage).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*RegisterImage).dryRuns(env) },
})

func (s *RegisterImage) start(env Env) Attempt { return newAttempt(s, env, env.registerImage) }

// dryRuns returns nothing if the source image has a snapshot without a copy. Start reports that.
func (s *RegisterImage) dryRuns(env Env) []DryRun {
	snapshots := map[string]string{}
	for device, r := range s.Snapshots {
		snapshots[device] = knownOr(r, StandInSnapshot)
	}

	in, err := registerImageInput(s, snapshots)
	if err != nil {
		return nil
	}

	in.DryRun = aws.Bool(true)
	d := newDryRun(s, "ec2:RegisterImage", env.Clients.EC2(s.Location).RegisterImage, in)
	d.Resource = "" // it does not exist yet
	return []DryRun{d}
}

// registerImage registers the image with the destination's own copies. The image is available at once (rule 2.5.6).
func (r *Run) registerImage(ctx context.Context, a *attempt, s *RegisterImage) (Outcome, error) {
	if err := r.deleteDuplicates(ctx, a, s); err != nil {
		return Outcome{}, err
	}

	in, err := registerImageInput(s, a.snapshotIDs)
	if err != nil {
		return Outcome{}, err
	}

	if a.resourceID == "" {
		if a.resourceID, err = r.register(ctx, a, s, in); err != nil {
			return Outcome{}, err
		}
	}

	if a.adopted {
		return Outcome{ID: a.resourceID, SnapshotIDs: a.snapshotIDs, Adopted: true}, nil
	}

	err = r.sign(ctx, a, s.Signing)
	return Outcome{
		ID:          a.resourceID,
		SnapshotIDs: a.snapshotIDs,
		Unsigned:    a.isSigningDenied,
	}, err
}

func (r *Run) register(
	ctx context.Context,
	a *attempt,
	s *RegisterImage,
	in *ec2.RegisterImageInput,
) (string, error) {
	find := func(ctx context.Context) (string, error) { return r.findImage(ctx, a, s) }
	id, err := r.callOnce(ctx, a, find, func(ctx context.Context) (string, error) {
		output, err := r.Clients.EC2(s.Location).RegisterImage(ctx, in)
		if err != nil {
			return "", err
		}
		return aws.ToString(output.ImageId), nil
	})

	switch {
	case awsclient.IsNameTaken(err):
		if a.responseLost { // the call whose response was lost may have succeeded
			if found, lookErr := find(ctx); lookErr == nil && found != "" {
				return found, nil
			}
		}

		adopted, isUnproven, lookErr := r.adoptImage(ctx, a, s)
		switch {
		case lookErr == nil && adopted != "":
			return adopted, nil
		case errors.As(lookErr, new(RetryAfter)):
			err = lookErr
		case (a.responseLost || isUnproven) && a.keepPolling():
			err = RetryAfter{Backoff(a.polls)}
		}
	case awsclient.IsNotFound(err) && a.keepPolling():
		// AWS may show a copy as completed before RegisterImage knows it (rule 4.4.3)
		err = RetryAfter{Backoff(a.polls)}
	}

	return id, err
}

// findImage looks for the image of a call whose response was lost. It has the name, this run's tags, and exactly
// the snapshots of this step. A later step verifies its other attributes.
func (r *Run) findImage(ctx context.Context, a *attempt, s *RegisterImage) (string, error) {
	tags := s.Signing.CreationTags()
	filters := []ec2types.Filter{
		{Name: aws.String("tag:" + provenance.TagSource), Values: []string{tags[provenance.TagSource]}},
		{Name: aws.String("tag:" + provenance.TagRun), Values: []string{tags[provenance.TagRun]}},
	}
	id := ""
	err := eachImage(ctx, r.Clients.EC2(s.Location), filters, func(image ec2types.Image) {
		isOwn := aws.ToString(image.Name) == s.Name && image.SourceImageId == nil &&
			maps.Equal(snapshotsByDevice(image), a.snapshotIDs)
		if _, isSigned := tagsOf(image.Tags)[provenance.TagSignature]; isOwn && !isSigned {
			id = aws.ToString(image.ImageId)
		}
	})

	if id != "" {
		r.recordCreatedID(id)
	}

	return id, err
}

// registerImageInput returns the input of RegisterImage, with all attributes of the source that it takes (rule 2.4).
func registerImageInput(s *RegisterImage, snapshots map[string]string) (*ec2.RegisterImageInput, error) {
	devices, err := deviceMappings(*s.Source, snapshots)
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
