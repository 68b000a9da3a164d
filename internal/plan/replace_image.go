// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// nameTaken returns the image that has a destination's name. Nil if the name is free, or if an earlier run created
// the image for the destination.
func (a *Assessment) nameTaken(d distribution.Destination) *ec2types.Image {
	taken := a.facts.Sites[d.At].NameUsed
	if taken == nil || a.facts.Images[d.FromRegion].Image != nil && isOwnImage(a.imageAt(d), *taken) {
		return nil
	}
	return taken
}

// isOwnImage reports whether a run created an image for the destination. This run then reuses it or waits for the
// other run.
func isOwnImage(found existingImages, image ec2types.Image) bool {
	for _, i := range []*ec2types.Image{found.use, found.pending} {
		if i != nil && aws.ToString(i.ImageId) == aws.ToString(image.ImageId) {
			return true
		}
	}
	return hasImage(found.unfinished, image) || hasImage(found.working, image) && !hasImage(found.changed, image)
}

// validateName returns findings if a destination's image cannot get its name. The existing image is replaced only
// with force_deregister (rule 2.5.2). It is never replaced if it is a source image, is protected, or has our tags
// without proof.
func (a *Assessment) validateName(d distribution.Destination) []distribution.Finding {
	taken := a.nameTaken(d)
	if taken == nil {
		return nil
	}

	id := aws.ToString(taken.ImageId)
	var ours existingImages
	if a.facts.Images[d.FromRegion].Image != nil {
		ours = a.imageAt(d)
	}

	f := distribution.Finding{
		Level:     distribution.Refused,
		Code:      distribution.CodeAMINotReplaceable,
		Reference: "2.5.2",
		Field:     field(d.Target, "force_deregister"),
		Location:  d.At,
		Principal: a.facts.Sites[d.At].Identity.ARN,
		Resource:  id,
		Summary:   fmt.Sprintf("the image %s, which has the name %q, is not deregistered", id, d.Name),
	}

	switch {
	case !d.Lifecycle.ForceDeregister && hasImage(ours.changed, *taken):
		f.Code = distribution.CodeAMIChanged
		f.Field, f.Summary = field(
			d.Target,
			"ami_name",
		), fmt.Sprintf(
			"the image %s, which an earlier run made, no longer matches the plan",
			id,
		)
		f.Detail = strings.Join(a.imageDifferences(d, *taken), "; ")
		f.Remediation = "put back what was changed; or set another ami_name; or, to replace that image, set " +
			"ami_name to its name and force_deregister = true"
	case !d.Lifecycle.ForceDeregister:
		f.Code = distribution.CodeAMINameTaken
		f.Field, f.Summary = field(d.Target, "ami_name"), fmt.Sprintf("the name %q is taken", d.Name)
		f.Detail = fmt.Sprintf("image %s of account %s in %s has it", id, d.At.Account, d.At.Region)
		f.Remediation = "set another ami_name; or deregister that image; or, to replace it, set ami_name to its " +
			"name and force_deregister = true"
		if hasImage(ours.unproven, *taken) { // force_deregister would not remove it
			f.Remediation = "find out where that image comes from; then deregister it, or set another ami_name"
		}
	case slices.ContainsFunc(a.req.Images, func(i distribution.SourceImage) bool { return i.ImageID == id }):
		f.Detail, f.Remediation = "it is the source image", "set another ami_name"
	case step.IsProtected(*taken):
		f.Reference, f.Detail = "A.2.1", "it is protected against deregistration"
		f.Remediation = "switch the protection off with `aws ec2 disable-image-deregistration-protection`, " +
			"with a cool-down a day before, or set another ami_name"
	case hasImage(ours.unproven, *taken):
		f.Reference, f.Detail = "2.1.8", "it has our tags and no valid signature: another run may be creating it"
		f.Remediation = "find out where it comes from, and deregister it if it is not wanted"
	case a.req.Hold && !d.PublishTargets.IsEmpty():
		f.Detail = `publish = "hold" keeps what names that image, and two images cannot have one name`
		f.Remediation = "give every release a name of its own by ami_name, and let retention remove the older ones"
	case a.req.PublishAll && !d.PublishTargets.IsEmpty():
		f.Code = distribution.CodeAMIReplacedEarly
		f.Level, f.Summary = distribution.Warning, fmt.Sprintf(
			"the image %s is deregistered before anything names the new one",
			id,
		)
		f.Detail = `publish = "all" waits until all images are proved, and two images cannot have one name: ` +
			`what names this one until then launches nothing`
		f.Remediation = "give every release a name of its own by ami_name, and let retention remove the older ones"
	default:
		return nil
	}

	return []distribution.Finding{f}
}

// deregisterNamesake adds the step that deregisters the image with a destination's name. It runs as late as
// possible, after everything else that the new image needs. Snapshots that the new image uses stay.
func (b *builder) deregisterNamesake(
	g destinationState,
	needs []distribution.StepID,
	copies map[string]snapshotRef,
) []distribution.StepID {
	taken := b.nameTaken(g.Destination)
	if taken == nil {
		return nil
	}

	var snapshots []string
	isUsed := false
	for _, m := range taken.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		snapshots = append(snapshots, *m.Ebs.SnapshotId)
		for _, c := range copies {
			isUsed = isUsed || c.ref.Known == *m.Ebs.SnapshotId
		}
	}

	withSnapshots := g.Lifecycle.ForceDeleteSnapshot && !isUsed
	if !withSnapshots {
		snapshots = nil
	}

	id := aws.ToString(taken.ImageId)
	b.deregistered[id] = b.add(&step.DeregisterImage{
		Base: step.Base{
			ID:               step.NewID("deregister", g.At.Account, g.At.Region, aws.ToString(taken.ImageId)),
			Location:         g.At,
			Destination:      g.At,
			DependsOn:        slices.Clone(needs),
			ExpectedDuration: callTime,
		},
		Image:         step.Ref{Known: aws.ToString(taken.ImageId)},
		Name:          g.Name,
		WithSnapshots: withSnapshots,
		Snapshots:     distribution.Union(snapshots, nil),
		Unless:        b.unlessUsable(g, *taken),
		Expected:      expectedImage(b.facts, b.imageNames[g.At]),
		Release:       b.facts.Images[g.FromRegion].Keys.Release(),
	})

	return []distribution.StepID{b.deregistered[id]}
}

// unlessUsable returns the verification that can keep an image from being replaced. An earlier run created the
// image, and a later read may find it correct. Nil if no run created it.
func (b *builder) unlessUsable(g destinationState, taken ec2types.Image) *step.VerifyImage {
	spec, id := b.destinationImageSpec(g.Destination), aws.ToString(taken.ImageId)
	signed := judge(b.facts, imageResource(b.facts, g.At, taken, nil)).Signed
	if signed == nil || signed.Source != spec.Signing.Statement.Source || signed.Role != provenance.Delivery {
		return nil
	}

	verify := &step.VerifyImage{
		Base:      step.Base{Location: g.At},
		ImageSpec: spec,
		Target:    g.Target,
		Image:     step.Ref{Known: id},
		Snapshots: map[string]step.ExpectedSnapshot{},
	}

	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		for _, device := range v.devices {
			verify.Snapshots[device] = step.ExpectedSnapshot{KeyARN: g.keyARN, GiB: v.gib()}
		}
	}

	return verify
}
