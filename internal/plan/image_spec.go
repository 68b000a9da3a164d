// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

func (a *Assessment) destinationImageSpec(d distribution.Destination) step.ImageSpec {
	l := newImageSpec(a.facts.Images[d.FromRegion])
	l.Source = withVolumeRate(l.Source, d.VolumeRate)
	l.Method, l.Abroad = d.Method, d.FromRegion != d.At.Region
	l.Name, l.Description = d.Name, d.Description
	l.Signing = a.deliverySigning(d)
	l.Tags = joined(d.Tags, l.Signing.CreationTags())
	return l
}

// imageSpec returns the expected staged image.
func (s *shareSource) imageSpec(a *Assessment) step.ImageSpec {
	l := newImageSpec(a.facts.Images[s.region])
	l.Method, l.Abroad = distribution.ByImage, s.region != s.location.Region
	l.Signing = s.signing(a, provenance.Image, "")
	l.Name = temporaryName(aws.ToString(l.Source.Name), s.location, l.Signing.Statement.Source, a.req.RunID)
	if l.Signing.Statement.Role == provenance.Delivery { // the same for all runs, so that concurrent runs create one image
		l.Name = stagedName(
			aws.ToString(l.Source.Name),
			step.Digest(s.location.Key(), l.Signing.Statement.Source.String(), s.keyARN),
		)
	}

	l.Description = fmt.Sprintf("Staged for other accounts: %s of %s", imageID(a.req, s.region), s.region)
	l.Tags = l.Signing.CreationTags()
	return l
}

// temporaryName returns the name that a run gives a staged image for the time of copies.
func temporaryName(name string, at distribution.Location, source provenance.SourceImage, run string) string {
	return stagedName(name, step.Digest(run, at.Key(), source.String()))
}

func newImageSpec(image distribution.Image) step.ImageSpec {
	l := step.ImageSpec{Source: image.Image, UEFIData: image.UEFIData}
	if l.Source == nil {
		l.Source = &ec2types.Image{}
	}
	return l
}

// withVolumeRate returns an image whose volumes of snapshots have an initialization rate (rule 9.10).
func withVolumeRate(source *ec2types.Image, rate int) *ec2types.Image {
	if rate == 0 {
		return source
	}
	image := *source
	image.BlockDeviceMappings = slices.Clone(image.BlockDeviceMappings)
	for i, device := range image.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			volume := *device.Ebs
			volume.VolumeInitializationRate = aws.Int32(int32(rate))
			image.BlockDeviceMappings[i].Ebs = &volume
		}
	}
	return &image
}

// reasonsForImageCopy returns why an image cannot be registered from snapshots in a Region, with the rules that say
// so.
func reasonsForImageCopy(image ec2types.Image, from, region string) (reasons, rules []string) {
	for _, a := range step.CarryTable {
		if a.Obstacle != nil && a.Obstacle(image) != "" {
			reasons, rules = append(reasons, a.Obstacle(image)), append(rules, a.Rule)
		}
		if a.Regional && from != region && a.Text(image) != "" {
			reasons = append(reasons, fmt.Sprintf("%s %s means nothing in %s", a.Name, a.Text(image), region))
			rules = append(rules, a.Rule)
		}
	}
	return reasons, rules
}

// Carry returns the outcome of every attribute of an image.
func Carry(
	image ec2types.Image,
	uefiData string,
	by func(step.Attribute) distribution.AttributeHandling,
) []distribution.AttributeOutcome {
	var all []distribution.AttributeOutcome
	for _, a := range step.CarryTable {
		how := by(a)
		if how == distribution.OutputOnly || a.Text != nil && a.Text(image) == "" {
			continue
		}
		c := distribution.AttributeOutcome{Attribute: a.Name, How: how, Why: ""}
		if how == distribution.Lost {
			c.Why = a.Why
		}
		all = append(all, c)
	}

	if uefiData != "" {
		all = append(all, distribution.AttributeOutcome{Attribute: "UefiData", How: distribution.Kept, Why: ""})
	}

	return all
}
