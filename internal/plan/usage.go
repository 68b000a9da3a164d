// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

const codeUsageUnknown = "usage_unknown"

// Usage returns a plan without steps, and the usage of the releases of the image family at all destinations, by
// account, Region and release. A destination whose usage is not known completely is an error: an empty list would
// otherwise mean that nothing uses a release.
func (a *Assessment) Usage() (Plan, []distribution.ReleaseUsage) {
	p := Plan{KeyAliases: keyAliases(a.facts)}
	destinations, findings := a.Expand()
	p.Findings = append(validateRequest(a.req, destinations), findings...)
	var all []distribution.ReleaseUsage
	for _, d := range destinations {
		planned, failed := a.destinationPlan(d, nil), usageFindings(a.facts, d)
		planned.Passed = len(failed) == 0
		p.Destinations = append(p.Destinations, planned)
		p.Findings = append(p.Findings, failed...)
		all = append(all, a.usageAt(d, !planned.Passed)...)
	}

	slices.SortStableFunc(all, func(a, b distribution.ReleaseUsage) int {
		return cmp.Or(b.Release.Compare(a.Release), a.At.Compare(b.At), cmp.Compare(a.ImageID, b.ImageID))
	})
	return p, all
}

// usageFindings returns why the usage at a destination is not known completely.
func usageFindings(facts distribution.Facts, d distribution.Destination) []distribution.Finding {
	level := distribution.Refused
	if d.Optional {
		level = distribution.Warning
	}
	if f := unreachableReason(d, facts); f != nil {
		f.Level = level
		return []distribution.Finding{*f}
	}

	var found []distribution.Finding
	for _, err := range facts.Usage[d.At].Errs {
		found = append(found, distribution.Finding{
			Level:       level,
			Code:        codeUsageUnknown,
			Reference:   "9.12",
			Field:       field(d.Target, "mode"),
			Location:    d.At,
			Operation:   err.Operation,
			Principal:   facts.Sites[d.At].Identity.ARN,
			Summary:     "what uses the releases is not known completely",
			Detail:      err.Error(),
			Remediation: `run mode = "usage" again`,
		})
	}
	return found
}

// familyImage is an image of a release of the image family at a destination.
type familyImage struct {
	ec2types.Image
	signed provenance.Statement
}

// imagesOfFamily returns the images at a destination that runs provably delivered for the image family, or for the
// source image if it has no family.
func (a *Assessment) imagesOfFamily(d distribution.Destination) []familyImage {
	req, facts := a.req, a.facts
	this := facts.SourceOf(d.FromRegion)
	family := req.ImageFamily
	if image := facts.Images[d.FromRegion].Image; family == "" && image != nil {
		family = tagMap(image.Tags)[provenance.TagImageFamily]
	}

	var all []familyImage
	for _, image := range facts.Releases[d.At] {
		from, ok := provenance.ParseSourceImage(tagMap(image.Tags)[provenance.TagSource])
		isOfFamily := from == this || family != "" && tagMap(facts.Sources[from].Tags)[provenance.TagImageFamily] == family
		if !ok || !isOfFamily {
			continue
		}
		signed := judge(facts, distribution.ImageResource(d.At, image, nil, provenance.Expected{})).Signed
		if signed != nil && signed.Role == provenance.Delivery {
			all = append(all, familyImage{image, *signed})
		}
	}
	return all
}

// ImagesOfFamily returns the IDs of the images of the image family at a destination, sorted.
func (a *Assessment) ImagesOfFamily(d distribution.Destination) []string {
	var ids []string
	for _, image := range a.imagesOfFamily(d) {
		ids = append(ids, aws.ToString(image.ImageId))
	}
	slices.Sort(ids)
	return ids
}

// usageAt returns the usage of the releases at a destination.
func (a *Assessment) usageAt(d distribution.Destination, isUnknown bool) []distribution.ReleaseUsage {
	facts := a.facts
	uses := slices.Concat(facts.Usage[d.At].Uses, facts.Sites[d.At].UnlistedUses())
	slices.SortFunc(uses, func(a, b distribution.ImageUse) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Detail, b.Detail))
	})

	var all []distribution.ReleaseUsage
	for _, image := range a.imagesOfFamily(d) {
		id := aws.ToString(image.ImageId)
		all = append(all, distribution.ReleaseUsage{
			At:       d.At,
			Target:   d.Target,
			SourceID: image.signed.Source.ImageID,
			Release:  image.signed.Release,
			ImageID:  id,
			Name:     aws.ToString(image.Name),
			State:    string(image.State),
			Uses: slices.DeleteFunc(slices.Clone(uses), func(u distribution.ImageUse) bool {
				return u.ImageID != id
			}),
			Unknown: isUnknown,
		})
	}
	return all
}
