// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// launchTime is the expected duration of a launch check.
const launchTime = time.Minute

// isUnfinished reports whether an earlier run has a record, so it failed or is active. Only then an existing image
// may lack its launch check.
func (b *builder) isUnfinished() bool { return b.facts.HasUnfinishedRuns(b.req.RunID) }

// addLaunchCheck adds the launch check. It always terminates the instance, even after a failure.
func (b *builder) addLaunchCheck(g *destinationState) {
	if g.LaunchCheck == nil || g.image != nil && !b.isUnfinished() {
		return
	}

	image := b.facts.Images[g.FromRegion]
	signing := b.newSigning(g.At, g.FromRegion, provenance.Instance)
	run := &step.RunInstance{
		Base: step.Base{
			ID:               step.NewID("launch", g.At.Account, g.At.Region),
			Location:         g.At,
			Destination:      g.At,
			DependsOn:        slices.Clone(g.verifications),
			ExpectedDuration: launchTime,
		},
		Image:        g.imageRef,
		Name:         g.Name,
		InstanceType: g.LaunchCheck.InstanceType,
		SubnetID:     launchSubnet(g.Destination, b.facts),
		KeyARN:       g.keyARN,
		Tags:         joined(g.RunTags, signing.CreationTags()),
		PartTags:     g.RunTags,
		Signing:      signing,
	}

	if g.imageRef.From != "" {
		run.DependsOn = append(run.DependsOn, g.imageRef.From)
	}

	for _, m := range image.Image.BlockDeviceMappings {
		if m.Ebs != nil {
			run.Devices = append(run.Devices, aws.ToString(m.DeviceName))
		}
	}

	slices.Sort(run.Devices)
	g.verifications = append(g.verifications, b.add(run))
	b.add(&step.TerminateInstance{
		Base: step.Base{
			ID:               step.NewID("terminate", g.At.Account, g.At.Region),
			Location:         g.At,
			RunsAfter:        []distribution.StepID{run.ID},
			ExpectedDuration: callTime,
		},
		Instance:    step.Ref{From: run.ID},
		ClientToken: run.ClientToken(),
	})
}
