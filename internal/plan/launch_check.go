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

// launchTime is what an instance is expected to take until it runs.
const launchTime = time.Minute

// isUnfinished reports whether a run before this one has a record: it did not end well, or works. Only then an image that
// is there already may lack its launch check.
func (b *builder) isUnfinished() bool { return b.facts.HasUnfinishedRuns(b.req.RunID) }

// launch adds the launch check, and the end of its instance in every outcome.
func (b *builder) launch(g *destinationState) {
	if g.Launch == nil || g.image != nil && !b.isUnfinished() {
		return
	}
	image := b.facts.Images[g.FromRegion]
	signing := newSigning(b.req, b.facts, g.At, g.FromRegion, provenance.Instance)
	run := &step.RunInstance{
		Base:         step.Base{ID: step.NewID("launch", g.At.Account, g.At.Region), Location: g.At, Destination: g.At, DependsOn: slices.Clone(g.proofs), ExpectedDuration: launchTime},
		Image:        g.ami,
		Name:         g.Name,
		InstanceType: g.Launch.InstanceType,
		SubnetID:     g.Launch.SubnetID,
		KeyARN:       g.keyARN,
		Tags:         joined(g.RunTags, signing.CreationTags()),
		PartTags:     g.RunTags,
		Signing:      signing,
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
		Instance: step.Ref{From: run.ID}, ClientToken: run.ClientToken()})
}
