// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// launchTime is what an instance is expected to take until it runs.
const launchTime = time.Minute

// launchMark says where the instance of a launch check comes from and belongs. Its key is its image's.
func launchMark(d distribution.Destination, req distribution.Request, facts distribution.Facts) origin.Mark {
	m := destinationMark(d, req, facts, "")
	m.Device = origin.LaunchCheck
	return m
}

// launch adds the launch check, and the end of its instance in every outcome.
func (b *builder) launch(g *destinationState) {
	if g.Launch == nil {
		return
	}
	image := b.facts.Images[g.FromRegion]
	mark := launchMark(g.Destination, b.req, b.facts)
	run := &step.RunInstance{
		Base:         step.Base{ID: step.NewID("launch", g.At.Account, g.At.Region), Location: g.At, Destination: g.At, DependsOn: slices.Clone(g.proofs), ExpectedDuration: launchTime},
		Image:        g.ami,
		Name:         g.Name,
		InstanceType: g.Launch.InstanceType,
		SubnetID:     g.Launch.SubnetID,
		KeyARN:       g.keyARN,
		Tags:         joined(g.Launch.Tags, mark.Tags(image.SealKey)),
		VolumeTags:   g.Launch.Tags,
		Mark:         mark,
		SealKey:      image.SealKey,
	}
	if g.ami.From != "" {
		run.DependsOn = append(run.DependsOn, g.ami.From)
	}
	for _, m := range image.Image.BlockDeviceMappings {
		if m.Ebs != nil {
			run.Devices = append(run.Devices, aws.ToString(m.DeviceName))
		}
	}
	slices.Sort(run.Devices)
	g.proofs = append(g.proofs, b.add(run))
	b.add(&step.TerminateInstance{Base: step.Base{ID: step.NewID("terminate", g.At.Account, g.At.Region), Location: g.At, RunsAfter: []distribution.StepID{run.ID}, ExpectedDuration: callTime},
		Instance: step.Ref{From: run.ID}, Mark: mark, SealKey: image.SealKey})
}

// endLaunches terminates the instances that launch checks of earlier runs left at a destination.
func (b *builder) endLaunches(d distribution.Destination) {
	left, _ := earlierLaunches(b.req, b.facts, d)
	for _, i := range left {
		instance := aws.ToString(i.InstanceId)
		b.add(&step.TerminateInstance{Base: step.Base{ID: step.NewID("terminate", d.At.Account, d.At.Region, instance), Location: d.At, ExpectedDuration: callTime}, Instance: step.Ref{Known: instance}})
	}
}

// earlierLaunches are the instances that launch checks of earlier runs left at a destination. Others that bear our tags come back as alien.
func earlierLaunches(req distribution.Request, facts distribution.Facts, d distribution.Destination) (ours, alien []ec2types.Instance) {
	return proven(facts, facts.Earlier[d.At].Instances, launchMark(d, req, facts), facts.Images[d.FromRegion].SealKey, func(i ec2types.Instance) (string, []ec2types.Tag, string, string, time.Time) {
		return aws.ToString(i.InstanceId), i.Tags, "", aws.ToString(i.ClientToken), aws.ToTime(i.LaunchTime)
	})
}
