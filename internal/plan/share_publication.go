// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// SharePublishers returns the share blocks that name the shared image in the source account, in every Region of the
// images. They are destinations without a copy.
func (a *Assessment) SharePublishers() ([]distribution.Destination, []distribution.Finding) {
	var all []distribution.Destination
	var findings []distribution.Finding
	for _, share := range a.req.Shares {
		if share.PublishTargets.IsEmpty() {
			continue
		}
		target := distribution.Target{Name: share.Name}
		target.PublishTargets = share.PublishTargets
		for _, region := range regionsOf(a.req.Images) {
			at := distribution.Location{Account: a.facts.Source.Account, Region: region}
			d, errs := a.expand(target, at, region)
			all, findings = append(all, d), append(findings, errs...)
		}
	}
	return all, nameShareBlocks(findings)
}

// sharePublication returns what the publish targets of a share block depend on.
func (a *Assessment) sharePublication(d distribution.Destination, s *shareSource) publication {
	p := publication{
		Destination: d,
		site: distribution.DestinationFacts{
			Identity:         a.facts.Source,
			PublicationFacts: a.facts.SharePublications[d.At],
		},
		keys:    a.facts.Keys[d.At],
		release: a.facts.Images[s.region].Keys.Release(),
		isNewer: func(string) bool { return false }, // the step looks, because only tags of the image show that
	}

	switch {
	case s.existingImageID != "":
		p.image = &ec2types.Image{ImageId: aws.String(s.existingImageID)}
	case !s.stagesImage:
		p.image = &ec2types.Image{ImageId: aws.String(imageID(a.req, s.region))}
	}
	return p
}

// sharePointers returns the references that name the image of a share source.
func (a *Assessment) sharePointers(s *shareSource) []distribution.Pointer {
	var all []distribution.Pointer
	publishers, _ := a.SharePublishers()
	for _, d := range publishers {
		if d.At != s.location {
			continue
		}
		for _, target := range publishTargets(d.PublishTargets) {
			pointer := target.pointer(a.sharePublication(d, s))
			pointer.Held = a.req.Hold
			all = append(all, pointer)
		}
	}
	return all
}

// validateSharePublications returns findings for publish targets of share blocks that cannot name the shared image.
func (a *Assessment) validateSharePublications(sources []*shareSource) []distribution.Finding {
	publishers, found := a.SharePublishers()
	for i, d := range publishers {
		var earlier distribution.PublishTargets // of earlier blocks
		for _, other := range publishers[:i] {
			if other.At == d.At {
				earlier = earlier.And(other.PublishTargets)
			}
		}
		for _, s := range sharedAt(sources, d.At) {
			p := a.sharePublication(d, s)
			for _, target := range publishTargetsAfter(earlier, d.PublishTargets) {
				found = append(found, target.validate(p)...)
				found = append(found, limitFindings(d, a.facts, target.limits())...)
			}
		}
	}
	return nameShareBlocks(found)
}

// sharedAt returns the source of the image that share blocks share in an account and Region. None if there is no image.
func sharedAt(sources []*shareSource, at distribution.Location) []*shareSource {
	return slices.DeleteFunc(slices.Clone(sources), func(s *shareSource) bool {
		return s.location != at || s.permanent.IsEmpty()
	})
}

// publishShares adds the steps that publish the shared image. With publish = "all" they also wait for the images of all
// required destinations.
func (b *builder) publishShares(sources []*preparedSource, states []destinationState) []distribution.StepID {
	if b.req.Hold {
		return nil
	}

	var required []distribution.StepID
	for _, g := range states {
		if b.req.PublishAll && !g.Optional {
			required = append(required, g.verifications...)
		}
	}

	var published []distribution.StepID
	publishers, _ := b.SharePublishers()
	for _, d := range publishers {
		for _, o := range sources {
			if len(sharedAt([]*shareSource{o.shareSource}, d.At)) == 0 {
				continue
			}
			g := destinationState{
				Destination:   d,
				verifiedImage: o.sharedImage(),
				verifications: slices.Concat(o.permanentShares, required),
			}
			if from := g.verifiedImage.From; from != "" {
				g.verifications = append(g.verifications, from)
			}
			for _, target := range publishTargets(d.PublishTargets) {
				newStep, _ := target.step(b.sharePublication(d, o.shareSource), g)
				if newStep != nil {
					newStep.Meta().Destination = distribution.Location{}
					published = append(published, b.add(newStep))
				}
			}
		}
	}
	return published
}

// sharedImage returns the image that share blocks share.
func (o *preparedSource) sharedImage() step.Ref {
	if o.existingImageID != "" {
		return step.Ref{Known: o.existingImageID}
	}
	return o.imageRef.ref
}
