// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// retireSources adds the steps that deregister source images of older releases, after every destination has its image
// of this release and publishes it. It adds none if a destination was left out, which may still need an older release.
func (b *builder) retireSources(all, open int, done []distribution.StepID) {
	if !b.req.SourceRetention.On() || b.req.Hold || open < all {
		return
	}

	for _, source := range b.req.Images {
		at := distribution.Location{Account: b.facts.Source.Account, Region: source.Region}
		for _, image := range slices.DeleteFunc(b.sourcesToRetire(source.Region), retiredImage.isDone) {
			id := aws.ToString(image.ImageId)
			b.add(&step.RetireSource{
				Base: step.Base{
					ID:               step.NewID("retire", at.Account, at.Region, id),
					Location:         at,
					DependsOn:        done,
					ExpectedDuration: callTime,
				},
				ImageID: id,
				Name:    aws.ToString(image.Name),
				DryRun:  b.req.SourceRetention.DryRun,
				Disable: image.disable,
			})
		}
	}
}

// sourcesToRetire returns the source images of a Region that source_retention does not keep, newest first.
func (a *Assessment) sourcesToRetire(region string) []retiredImage {
	this := a.facts.Images[region]
	if this.Image == nil {
		return nil
	}

	type candidate struct {
		image   ec2types.Image
		release time.Time
	}
	var older []candidate
	for _, image := range a.facts.SourceReleases[region] {
		keys := provenance.ParseSigningKeys(tagMap(image.Tags))
		isThis := aws.ToString(image.ImageId) == aws.ToString(this.Image.ImageId)
		if isThis || len(keys) == 0 || !isRetirable(image) ||
			!keys.Release().Before(this.Keys.Release()) {
			continue
		}
		older = append(older, candidate{image, keys.Release()})
	}
	slices.SortFunc(older, func(a, b candidate) int {
		return cmp.Or(b.release.Compare(a.release), cmp.Compare(*a.image.ImageId, *b.image.ImageId))
	})

	var images []retiredImage
	keep := a.req.SourceRetention
	for i, c := range older {
		isYoung := keep.For > 0 && a.facts.At.Sub(parseTime(c.image.CreationDate)) <= keep.For
		if i+1 >= keep.Releases && !isYoung {
			images = append(images, retiredImage{c.image, len(images) < keep.Disabled})
		}
	}
	return images
}
