// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// release holds the images created from one source image. A tag of the source image names the image family. A tag in
// the target account would not be safe: anyone who may tag there could make runs delete images of other families.
type release struct {
	built  time.Time
	source string // ID of the source image
	images []ec2types.Image
}

// retiredImage is an image that a retention option does not keep.
type retiredImage struct {
	ec2types.Image
	disable bool // it is disabled, and deregistered by a later run
}

// isDone reports whether an earlier run did what the option wants.
func (i retiredImage) isDone() bool { return i.disable && i.State == ec2types.ImageStateDisabled }

// isRetirable reports whether an image is complete. An image that an earlier run disabled is deregistered later.
func isRetirable(image ec2types.Image) bool {
	return image.State == ec2types.ImageStateAvailable || image.State == ec2types.ImageStateDisabled
}

// releasesToDelete returns the images of a destination to disable or delete after it succeeds, newest first. None with
// publish = "hold", because older releases are still in use. unproven are those whose release is unknown.
func (a *Assessment) releasesToDelete(d distribution.Destination) (images []retiredImage, unproven []ec2types.Image) {
	this := a.facts.Images[d.FromRegion]
	if !d.Retention.On() || this.Image == nil || a.req.Hold {
		return nil, nil
	}

	other, unproven := a.earlierReleases(d)
	disabled := 0 // releases
	for i, r := range other {
		if i+1 < d.Retention.Releases || !r.built.Before(this.Keys.Release()) {
			continue
		}
		known := len(images)
		for _, image := range r.images {
			if made := parseTime(image.CreationDate); d.Retention.For == 0 || a.facts.At.Sub(made) > d.Retention.For {
				images = append(images, retiredImage{image, disabled < d.Retention.Disabled})
			}
		}
		if len(images) > known {
			disabled++
		}
	}

	return images, unproven
}

// earlierReleases returns the other releases of the image family at a destination, newest first. unproven are images
// whose release is unknown.
func (a *Assessment) earlierReleases(d distribution.Destination) (other []release, unproven []ec2types.Image) {
	for _, image := range a.facts.Releases[d.At] {
		from, is := provenance.ParseSourceImage(tagMap(image.Tags)[provenance.TagSource])
		if !is || from.Account != a.facts.Source.Account || from.ImageID == imageID(a.req, d.FromRegion) ||
			!isRetirable(image) {
			continue
		}

		source, isKnown := a.facts.Sources[from]
		family := tagMap(source.Tags)[provenance.TagImageFamily]
		signed := judge(a.facts, distribution.ImageResource(d.At, image, nil, provenance.Expected{})).Signed
		switch {
		case isKnown && family != "" && family != a.req.ImageFamily:
			// skipped: it is known to belong to another image family
		case !isKnown,
			family == "",
			aws.ToString(image.OwnerId) != d.At.Account,
			signed == nil,
			signed.Role != provenance.Delivery:
			unproven = append(unproven, image)
		default:
			i := slices.IndexFunc(other, func(r release) bool { return r.source == from.ImageID })
			if i < 0 {
				i = len(other)
				other = append(other, release{built: signed.Release, source: from.ImageID})
			}
			other[i].images = append(other[i].images, image)
		}
	}

	slices.SortFunc(
		other,
		func(a, b release) int { return cmp.Or(b.built.Compare(a.built), cmp.Compare(a.source, b.source)) },
	)
	return other, unproven
}

// deleteReleases adds the steps that delete older releases, after the new image is verified and published.
func (b *builder) deleteReleases(g destinationState, published []distribution.StepID) {
	images, _ := b.releasesToDelete(g.Destination)
	for _, image := range slices.DeleteFunc(images, retiredImage.isDone) {
		old := aws.ToString(image.ImageId)
		b.add(&step.DeleteRelease{
			Base: step.Base{
				ID:               step.NewID("retire", g.At.Account, g.At.Region, old),
				Location:         g.At,
				Destination:      g.At,
				DependsOn:        slices.Concat(g.verifications, published),
				ExpectedDuration: callTime,
			},
			ImageID: old,
			Name:    aws.ToString(image.Name),
			Release: b.facts.Images[g.FromRegion].Keys.Release(),
			DryRun:  g.Retention.DryRun,
			Disable: image.disable,
		})
	}
}

// tagImageFamily adds the steps that tag the source images with their image family, for later runs.
func (b *builder) tagImageFamily() {
	for _, source := range b.req.Images {
		at := distribution.Location{Account: b.facts.Source.Account, Region: source.Region}
		if image := b.facts.Images[source.Region].Image; b.req.ImageFamily != "" && image != nil &&
			tagMap(image.Tags)[provenance.TagImageFamily] != b.req.ImageFamily {
			b.add(&step.TagResource{
				Base:     step.Base{ID: step.NewID("line", at.Account, at.Region), Location: at, ExpectedDuration: callTime},
				Resource: step.Ref{Known: source.ImageID},
				Tags:     map[string]string{provenance.TagImageFamily: b.req.ImageFamily},
			})
		}
	}
}

// retentionFindings returns notes about images that stay because their release is unknown.
func (a *Assessment) retentionFindings(open []distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	for _, d := range open {
		if _, unproven := a.releasesToDelete(d); len(unproven) > 0 {
			ids := make([]string, len(unproven))
			for i, image := range unproven {
				ids[i] = aws.ToString(image.ImageId)
			}

			found = append(found, distribution.Finding{
				Level:     distribution.Note,
				Code:      distribution.CodeOlderReleasesUnproven,
				Reference: "2.1.8",
				Field:     field(d.Target, "retention"),
				Location:  d.At,
				Resource:  strings.Join(ids, ", "),
				Summary:   "images that may be older releases stay",
				Detail: "no valid signature proves that they are releases of this image family: their source AMI is gone, " +
					"cannot be read, or has no image_family in its tags",
				Remediation: "delete what is not needed",
			})
		}
	}

	return found
}

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
