// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// publishTarget is a parameter or launch template that refers to the image of a destination. Each kind has its own
// file.
type publishTarget interface {
	// pointer returns the reference, and whether it refers to the existing image.
	pointer(p publication) distribution.Pointer

	// reference returns the number of the AWS rule that findings about the target name.
	reference() string

	// limits returns the values that AWS limits.
	limits() []limited

	// validate returns findings for a target that cannot refer to the image.
	validate(p publication) []distribution.Finding

	// step returns the step that publishes the image. It is nil if the target already refers to the image or to one of a
	// newer release. The note says so in the second case.
	step(p publication, g destinationState) (step.Step, *distribution.Finding)

	// current returns the image that the target names. Empty if it names none.
	current(site distribution.DestinationFacts) string

	// earlier returns the versions before the current one, newest first. AWS keeps them, and no call changes one.
	earlier(site distribution.DestinationFacts) []distribution.PointerVersion

	// unpublishAdvice returns how a user makes the target name no image of a run.
	unpublishAdvice(region string) string

	// move returns the step of a promotion or a rollback.
	move(p publication, m pointerMove, g destinationState) step.Step
}

// publishTargets returns the publish targets of a destination, in the order in which they are published.
func publishTargets(o distribution.PublishTargets) []publishTarget {
	return publishTargetsAfter(distribution.PublishTargets{}, o)
}

// publishTargetsAfter returns the publish targets of o. Each is validated against those before it in o and against all
// of others, because two must not have the same name. A new kind of target needs a loop here.
func publishTargetsAfter(others, o distribution.PublishTargets) []publishTarget {
	var all []publishTarget
	for i, p := range o.Parameters {
		all = append(all, parameterTarget{p, slices.Concat(others.Parameters, o.Parameters[:i])})
	}
	for i, t := range o.Templates {
		all = append(all, templateTarget{t, slices.Concat(others.Templates, o.Templates[:i])})
	}
	return all
}

// publication is what the publish targets of a destination depend on.
type publication struct {
	distribution.Destination
	site    distribution.DestinationFacts
	keys    map[string]distribution.Key
	image   *ec2types.Image // the existing image. Nil if the run creates it
	release time.Time       // of the image
	isHeld  bool
	isNewer func(imageID string) bool
}

func (a *Assessment) newPublication(d distribution.Destination) publication {
	return publication{
		Destination: d,
		site:        a.facts.Sites[d.At],
		keys:        a.facts.Keys[d.At],
		image:       a.imageAt(d).use,
		release:     a.facts.Images[d.FromRegion].Keys.Release(),
		isHeld:      a.req.Hold || a.req.Move == distribution.Rollback,
		isNewer:     func(imageID string) bool { return isNewer(a.facts, d, imageID) },
	}
}

// namesImage reports whether an image ID is that of the existing image, or of an image that is not replaced.
func (p publication) namesImage(imageID string) bool {
	return p.image != nil && imageID == aws.ToString(p.image.ImageId) || p.isNewer(imageID)
}

// pointers returns the references that a destination publishes.
func (a *Assessment) pointers(d distribution.Destination) []distribution.Pointer {
	p := a.newPublication(d)
	var all []distribution.Pointer
	for _, t := range publishTargets(d.PublishTargets) {
		pointer := t.pointer(p)
		pointer.Held = a.req.Hold
		all = append(all, pointer)
	}
	return all
}

// isNewer reports whether a published image belongs to a newer release than a destination, by its signature. Without a
// valid signature, the source image that its tags name decides. A run does not replace such an image.
func isNewer(facts distribution.Facts, d distribution.Destination, imageID string) bool {
	image, ok := facts.Published[d.At][imageID]
	if !ok || invariant.ReleaseOrder.IsOff() {
		return false
	}
	resource, own := distribution.ImageResource(d.At, image, nil, provenance.Expected{}), facts.Images[d.FromRegion].Keys
	if signed := judge(facts, resource).Signed; signed != nil && signed.Role == provenance.Delivery {
		return signed.Release.After(own.Release())
	}
	source, ok := provenance.ParseSourceImage(resource.Tags[provenance.TagSource])
	return ok && facts.SigningKeys()[source].Release().After(own.Release())
}

// newerFinding returns the note about something that names an image of a newer release.
func newerFinding(at distribution.Location, name, imageID string) *distribution.Finding {
	return &distribution.Finding{
		Level:    distribution.Note,
		Code:     distribution.CodeNewerReleasePublished,
		Location: at,
		Resource: name,
		Summary:  name + " still names " + imageID,
		Detail:   "that image is of a newer release than the image of this run",
	}
}

// publish adds the steps that publish the verified image of a destination.
func (b *builder) publish(g destinationState) (published []distribution.StepID) {
	if b.req.Hold {
		return nil
	}

	p := b.newPublication(g.Destination)
	for _, t := range publishTargets(g.PublishTargets) {
		newStep, note := t.step(p, g)
		if note != nil {
			b.findings = append(b.findings, *note)
		}
		if newStep != nil {
			published = append(published, b.add(newStep))
		}
	}
	return published
}

func publishBase(g destinationState, kind, name string) step.Base {
	return step.Base{
		ID:               distribution.StepID(kind + "/" + g.At.Key() + "/" + name),
		Location:         g.At,
		Destination:      g.At,
		DependsOn:        g.verifications,
		ExpectedDuration: callTime,
	}
}

// validatePublication returns findings for publish targets that cannot refer to the image.
func (a *Assessment) validatePublication(d distribution.Destination) []distribution.Finding {
	if a.facts.Images[d.FromRegion].Image == nil {
		return nil
	}

	p := a.newPublication(d)
	var found []distribution.Finding
	for _, t := range publishTargets(d.PublishTargets) {
		found = append(found, t.validate(p)...)
	}
	return found
}

// pointerValues returns the values in the calls that publish an image and that AWS limits.
func pointerValues(d distribution.Destination) []limited {
	var values []limited
	for _, t := range publishTargets(d.PublishTargets) {
		values = append(values, t.limits()...)
	}
	return values
}

// CountsForDestination reports whether a destination succeeds only if the step does: it verifies or publishes the
// image.
func CountsForDestination(s step.Step) bool {
	return s.Role() == step.Publishes || s.Role().IsVerification()
}

// addPublishBarrier makes publishing wait for the verification of all required destinations if publish is "all".
func (b *builder) addPublishBarrier(goals []destinationState) {
	if !b.req.PublishAll || !slices.ContainsFunc(goals, func(g destinationState) bool {
		return slices.ContainsFunc(
			b.pointers(g.Destination),
			func(p distribution.Pointer) bool { return !p.Set && !p.Held },
		)
	}) {
		return
	}

	barrier := &step.PublishBarrier{Base: step.Base{ID: "publish/all"}}
	for _, g := range goals {
		if !g.Optional {
			barrier.DependsOn = append(barrier.DependsOn, g.verifications...)
			barrier.Destinations++
		}
	}

	if barrier.Destinations == 0 {
		return
	}

	b.add(barrier)
	for i := range goals {
		goals[i].verifications = append(slices.Clone(goals[i].verifications), barrier.ID)
	}
}
