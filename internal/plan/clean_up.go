// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deleteUnused adds the steps that delete unused resources of earlier runs, in all accounts and Regions. It only
// reports resources that no run provably created, and those of active runs. A failure of these steps fails no
// destination.
func (b *builder) deleteUnused() {
	for _, at := range sortedLocations(b.facts.Earlier) {
		c := cleanUp{builder: b, at: at, existing: b.facts.Earlier[at], kept: map[string]bool{}}
		c.images()
		c.snapshots()
		c.instances()
		for _, other := range c.existing.Others {
			b.findings = append(b.findings, unprovenFinding(at, other.Kind, other.ID))
		}
	}
}

// cleanUp deletes unused resources in one account and Region.
type cleanUp struct {
	*builder
	at       distribution.Location
	existing distribution.ExistingResources
	kept     map[string]bool // snapshots that an image uses, or that are deleted with it
}

// images adds the steps that deregister temporary and unfinished images. Delivered images stay.
func (c *cleanUp) images() {
	for _, image := range c.existing.Images {
		id := aws.ToString(image.ImageId)
		names := c.expectedNames(image)
		j := judge(c.facts, imageResource(c.facts, c.at, image, names))
		isDeleted := false
		switch {
		case c.used[id]:
		case c.deregistered[id] != "":
			isDeleted = true
		case j.Verdict == provenance.Unproven:
			c.findings = append(c.findings, unprovenFinding(c.at, "image", id))
			c.listSnapshots(image)
		case j.Verdict == provenance.Working:
			c.list("image", id, j)
		case isDelivered(j) && !c.isUnfinished(image):
			c.listShared(image, j)
		default:
			isDeleted = true
			c.deregister(image, names)
		}

		if !isDeleted || image.SourceImageId != nil {
			c.keepSnapshots(image)
		}
	}
}

// isUnshared reports whether an image was created for share blocks but never shared. Its run ended too early.
func (c *cleanUp) isUnshared(image ec2types.Image) bool {
	with, isKnown := c.existing.LaunchPermissions[aws.ToString(image.ImageId)]
	j := judge(c.facts, imageResource(c.facts, c.at, image, nil))
	return j.Signed != nil && j.Signed.Device == provenance.SharedImage && isKnown && with.IsEmpty()
}

// expectedNames returns the names that runs give images at the location. It includes the name of a staged image of
// the run in the image's tags.
func (c *cleanUp) expectedNames(image ec2types.Image) []string {
	tags := tagMap(image.Tags)
	source, _ := provenance.ParseSourceImage(tags[provenance.TagSource])
	staged := c.facts.Images[source.Region].Image
	if staged == nil || c.at.Account != source.Account {
		return c.imageNames[c.at]
	}
	name := temporaryName(aws.ToString(staged.Name), c.at, source, tags[provenance.TagRun])
	return append(slices.Clone(c.imageNames[c.at]), name)
}

// listSnapshots adds findings about the tagged snapshots of an image that no run provably created.
func (c *cleanUp) listSnapshots(image ec2types.Image) {
	for _, s := range c.existing.Snapshots {
		id := aws.ToString(s.SnapshotId)
		if usesSnapshot(image, id) && tagMap(s.Tags)[provenance.TagSource] != "" {
			c.findings = append(c.findings, unprovenFinding(c.at, "snapshot", id))
		}
	}
}

// listShared adds notes about an image that share blocks of earlier runs created, and about its snapshots. A
// clean-up deletes the image if it was never shared.
func (c *cleanUp) listShared(image ec2types.Image, j provenance.Judgment) {
	if j.Signed.Device != provenance.SharedImage {
		return
	}

	id := aws.ToString(image.ImageId)
	summary := "image " + id + " stays: a share block of an earlier run hands it out, and this run has no such block"
	if c.isUnshared(image) {
		summary = "image " + id + " was created for a share block and never shared"
	}

	for _, resource := range append([]string{id}, snapshotIDs(image)...) {
		c.findings = append(c.findings, distribution.Finding{
			Level:       distribution.Note,
			Code:        distribution.CodeShareKept,
			Location:    c.at,
			Resource:    resource,
			Summary:     summary,
			Remediation: "deregister the image if it is not needed",
		})
	}
}

func snapshotIDs(image ec2types.Image) []string {
	var ids []string
	for _, m := range image.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			ids = append(ids, *m.Ebs.SnapshotId)
		}
	}
	return ids
}

// isDelivered reports whether a resource is signed as a delivery.
func isDelivered(j provenance.Judgment) bool {
	return j.Signed != nil && j.Signed.Role == provenance.Delivery
}

// isUnfinished reports whether a delivered image is failed. During a clean-up, an image that is still being copied
// or was never shared counts too.
func (c *cleanUp) isUnfinished(image ec2types.Image) bool {
	if image.State == ec2types.ImageStateFailed {
		return true
	}
	return c.onlyCleansUp && (image.State == ec2types.ImageStatePending || c.isUnshared(image))
}

// deregister adds the step that deregisters an unused image. It waits for copies of the image in progress.
func (c *cleanUp) deregister(image ec2types.Image, names []string) {
	id := aws.ToString(image.ImageId)
	s := &step.DeregisterImage{
		Base: step.Base{
			ID:               step.NewID("deregister", c.at.Account, c.at.Region, id),
			Location:         c.at,
			RunsAfter:        c.resumedCopies(),
			ExpectedDuration: callTime,
		},
		Image:         step.Ref{Known: id},
		WithSnapshots: image.SourceImageId != nil, // CopyImage created them with it (rule 9.6)
		Expected:      expectedImage(c.facts, names),
		Release:       c.releaseOf(image.Tags),
	}

	c.deregistered[id] = c.add(s)
}

// releaseOf returns the release of the source image that the tags of a resource name.
func (b *builder) releaseOf(tags []ec2types.Tag) time.Time {
	source, _ := provenance.ParseSourceImage(tagMap(tags)[provenance.TagSource])
	return b.facts.SigningKeys()[source].Release()
}

// keepSnapshots records snapshots that must not be deleted on their own.
func (c *cleanUp) keepSnapshots(image ec2types.Image) {
	for _, id := range snapshotIDs(image) {
		c.kept[id] = true
	}
	for _, s := range c.existing.Snapshots { // a pending copy shows no devices (rule 1.8.5)
		if provenance.ImageOfCopy(aws.ToString(s.Description)) == aws.ToString(image.ImageId) {
			c.kept[aws.ToString(s.SnapshotId)] = true
		}
	}
}

// snapshots adds the steps that delete temporary snapshots that no image and no step uses.
func (c *cleanUp) snapshots() {
	for _, s := range c.existing.Snapshots {
		id := aws.ToString(s.SnapshotId)
		if c.used[id] || c.kept[id] || tagMap(s.Tags)[provenance.TagSource] == "" {
			continue
		}

		j := judge(c.facts, distribution.SnapshotResource(c.at, s))
		switch j.Verdict {
		case provenance.Unproven:
			c.findings = append(c.findings, unprovenFinding(c.at, "snapshot", id))
		case provenance.Working:
			c.list("snapshot", id, j)
		default:
			c.add(&step.DeleteSnapshot{
				Base: step.Base{
					ID:               step.NewID("delete", c.at.Account, c.at.Region, id),
					Location:         c.at,
					DependsOn:        c.deregistrations(),
					RunsAfter:        c.resumedCopies(),
					ExpectedDuration: callTime,
				},
				Snapshot: step.Ref{Known: id},
			})
		}
	}
}

// deregistrations returns the steps that deregister images at the location, sorted.
func (c *cleanUp) deregistrations() []distribution.StepID {
	var ids []distribution.StepID
	for _, image := range c.existing.Images {
		if id := c.deregistered[aws.ToString(image.ImageId)]; id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// resumedCopies returns the resumed copies, because their source may be at the location.
func (c *cleanUp) resumedCopies() []distribution.StepID {
	if c.at.Account != c.facts.Source.Account {
		return nil
	}
	var ids []distribution.StepID
	for _, s := range c.steps {
		copying, ok := s.(step.Copying)
		if ok && s.Meta().ResumeID != "" && copying.Copies().FromRegion == c.at.Region {
			ids = append(ids, s.Meta().ID)
		}
	}
	return ids
}

// instances terminates the instances of launch checks.
func (c *cleanUp) instances() {
	for _, i := range c.existing.Instances {
		id := aws.ToString(i.InstanceId)
		j := judge(c.facts, distribution.InstanceResource(c.at, i))
		switch j.Verdict {
		case provenance.Unproven:
			c.findings = append(c.findings, unprovenFinding(c.at, "instance", id))
		case provenance.Working:
			c.list("instance", id, j)
		default:
			c.add(&step.TerminateInstance{
				Base: step.Base{
					ID:               step.NewID("terminate", c.at.Account, c.at.Region, id),
					Location:         c.at,
					ExpectedDuration: callTime,
				},
				Instance: step.Ref{Known: id},
			})
		}
	}
}

// list adds a note about a resource of an active run.
func (c *cleanUp) list(kind, id string, j provenance.Judgment) {
	c.findings = append(c.findings, distribution.Finding{
		Level:    distribution.Note,
		Code:     distribution.CodeRunWorking,
		Location: c.at,
		Resource: id,
		Summary:  fmt.Sprintf("%s %s belongs to run %s, which works on the same image", kind, id, j.Run),
		Detail:   "that run deletes it, or a later run does",
	})
}

// unprovenFinding returns the warning about a resource that has our tags without proof.
func unprovenFinding(at distribution.Location, kind, id string) distribution.Finding {
	return distribution.Finding{
		Level:     distribution.Warning,
		Code:      distribution.CodeResourceUnproven,
		Reference: "2.1.8",
		Location:  at,
		Resource:  id,
		Summary:   fmt.Sprintf("%s %s has the tags of this plugin, but no run provably created it", kind, id),
		Detail: "its signature is missing, wrong or copied; everyone who may tag resources in the account can write " +
			"tags",
		Remediation: "it is not used and not deleted; delete it yourself if you do not need it",
	}
}

func sortedLocations[V any](byLocation map[distribution.Location]V) []distribution.Location {
	return slices.SortedFunc(maps.Keys(byLocation), distribution.Location.Compare)
}

func sortedKeys[V any](byName map[string]V) []string { return slices.Sorted(maps.Keys(byName)) }

// leftoverFindings returns notes about what earlier runs left, for a refused plan, which deletes nothing.
func (a *Assessment) leftoverFindings(all []distribution.Destination, sources []*shareSource) []distribution.Finding {
	steps, found := a.cleanUpSteps(all, sources)
	for _, s := range steps {
		at := s.Meta().Location
		found = append(found, leftoverFinding(at, s.ResourceID(), "an earlier run left it"))
		for _, image := range a.facts.Earlier[at].Images {
			if aws.ToString(image.ImageId) != s.ResourceID() {
				continue
			}
			for _, id := range snapshotIDs(image) {
				found = append(found, leftoverFinding(at, id, "it belongs to "+s.ResourceID()+", which an earlier run left"))
			}
		}
	}

	for _, region := range sortedKeys(a.facts.Images) {
		image := a.facts.Images[region]
		if image.Image == nil {
			continue
		}

		at := distribution.Location{Account: a.facts.Source.Account, Region: region}
		add := func(id string, permitted []string, tags []ec2types.Tag) {
			own := joined(provenance.WithoutBaseline(tagMap(image.Image.Tags)), tagMap(tags))
			temporary, err := provenance.Withdrawable(permitted, at.Account, own)
			if err == nil && len(temporary) > 0 {
				found = append(found, leftoverFinding(at, id, "an earlier run shared it with "+strings.Join(temporary, ", ")))
			}
		}

		add(aws.ToString(image.Image.ImageId), image.SharedWith.Accounts, image.Image.Tags)
		for _, id := range sortedKeys(image.Snapshots) {
			add(id, image.Snapshots[id].SharedWith, image.Snapshots[id].Tags)
		}
	}

	return found
}

func leftoverFinding(at distribution.Location, id, why string) distribution.Finding {
	return distribution.Finding{
		Level:       distribution.Note,
		Code:        distribution.CodeResourceKept,
		Location:    at,
		Resource:    id,
		Summary:     id + " stays: " + why,
		Detail:      "this run changes nothing, because its plan is refused",
		Remediation: `correct the template and run again, or run with mode = "cleanup"`,
	}
}
