// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// newSigning returns the signing data of a resource that this run creates at a location.
func (a *Assessment) newSigning(at distribution.Location, from string, kind provenance.Kind) step.Signing {
	keys := a.facts.Images[from].Keys
	key, _ := keys.Signer()
	return step.Signing{
		Kind: kind,
		Key:  key,
		Statement: provenance.Statement{
			Account: at.Account,
			Region:  at.Region,
			Source:  a.sourceOf(from),
			Run:     a.req.RunID,
			Role:    provenance.Temporary,
			Release: keys.Release(),
		},
	}
}

// sourceOf returns the source image of a Region.
func (a *Assessment) sourceOf(region string) provenance.SourceImage {
	return provenance.SourceImage{Account: a.facts.Source.Account, Region: region, ImageID: imageID(a.req, region)}
}

// copySigning returns the signing data of a destination's copy of a volume.
func (a *Assessment) copySigning(d distribution.Destination, device string) step.Signing {
	s := a.newSigning(d.At, d.FromRegion, provenance.Snapshot)
	s.Statement.KeyARN, s.Statement.Device = destinationKeyARN(d, a.facts), device
	return s
}

// deliverySigning returns the signing data of a destination's image.
func (a *Assessment) deliverySigning(d distribution.Destination) step.Signing {
	s := a.newSigning(d.At, d.FromRegion, provenance.Image)
	s.Statement.KeyARN, s.Statement.Role = destinationKeyARN(d, a.facts), provenance.Delivery
	return s
}

// judge returns the judgment on a resource, with the keys of the source image in its tags.
func judge(facts distribution.Facts, r provenance.Resource) provenance.Judgment {
	source, _ := provenance.ParseSourceImage(r.Tags[provenance.TagSource])
	j, _ := facts.Judge(source)
	return j.Judge(r)
}

// hasSource reports whether tags name a source image.
func hasSource(tags []ec2types.Tag, source provenance.SourceImage) bool {
	return tagMap(tags)[provenance.TagSource] == source.String()
}

// isComplete reports whether a snapshot is complete. Otherwise it cannot be copied or registered.
func isComplete(s ec2types.Snapshot) bool { return s.State == ec2types.SnapshotStateCompleted }

// reusableCopy returns an earlier run's copy of a volume, complete or in progress. It excludes snapshots of an
// image with another name. Nil if there is none.
func reusableCopy(facts distribution.Facts, v volume, wanted step.Signing, name string) *ec2types.Snapshot {
	at := distribution.Location{Account: wanted.Statement.Account, Region: wanted.Statement.Region}
	var best *ec2types.Snapshot
	for _, s := range facts.Earlier[at].Snapshots {
		if !hasSource(s.Tags, wanted.Statement.Source) ||
			belongsToImage(facts.Earlier[at], aws.ToString(s.SnapshotId), name) {
			continue
		}
		if isReusable(facts, v, wanted, s) && (best == nil || isBetterCopy(s, *best)) {
			best = &s
		}
	}
	return best
}

// isReusable reports whether a snapshot has not failed, has the wanted signature, and belongs to no active run.
func isReusable(facts distribution.Facts, v volume, wanted step.Signing, s ec2types.Snapshot) bool {
	at := distribution.Location{Account: wanted.Statement.Account, Region: wanted.Statement.Region}
	j := judge(facts, distribution.SnapshotResource(at, s))
	switch {
	case j.Verdict != provenance.Adoptable || !isSignedAs(*j.Signed, wanted.Statement):
		return false
	case s.State == ec2types.SnapshotStateError || aws.ToString(s.OwnerId) != at.Account:
		return false
	}
	return !isComplete(s) || int64(aws.ToInt32(s.VolumeSize)) == v.gib()
}

// isSignedAs reports whether a statement matches the wanted one, apart from the run.
func isSignedAs(signed, wanted provenance.Statement) bool {
	return signed.Source == wanted.Source && signed.Role == wanted.Role && signed.KeyARN == wanted.KeyARN &&
		signed.Device == wanted.Device
}

// isBetterCopy prefers the complete snapshot, then the older one.
func isBetterCopy(a, b ec2types.Snapshot) bool {
	if isComplete(a) != isComplete(b) {
		return isComplete(a)
	}
	begun, other := aws.ToTime(a.StartTime), aws.ToTime(b.StartTime)
	if !begun.Equal(other) {
		return begun.Before(other)
	}
	return aws.ToString(a.SnapshotId) < aws.ToString(b.SnapshotId)
}

// belongsToImage reports whether an image with another name uses a snapshot.
func belongsToImage(existing distribution.ExistingResources, snapshotID, name string) bool {
	return slices.ContainsFunc(existing.Images, func(i ec2types.Image) bool {
		return aws.ToString(i.Name) != name && usesSnapshot(i, snapshotID)
	})
}

func usesSnapshot(image ec2types.Image, snapshotID string) bool {
	return slices.ContainsFunc(image.BlockDeviceMappings, func(m ec2types.BlockDeviceMapping) bool {
		return m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) == snapshotID
	})
}

// existingImages holds the images of earlier runs for one purpose.
type existingImages struct {
	use        *ec2types.Image  // complete, with the wanted attributes
	pending    *ec2types.Image  // still being copied
	changed    []ec2types.Image // delivered, but since then the image, its key or the template has changed
	unfinished []ec2types.Image // failed or not signed, so they can be deleted
	unproven   []ec2types.Image // with our tags but no proof. They are never used or deleted
	working    []ec2types.Image // of another active run. They are never deleted
}

// isStarted reports whether a run created any of the images.
func (e existingImages) isStarted() bool {
	return e.use != nil || e.pending != nil || len(e.changed)+len(e.unfinished)+len(e.working) > 0
}

// findImages sorts the images of a source image by their state. Any name matches if name is empty. isWanted reports
// whether an available image has the wanted attributes.
func findImages(
	facts distribution.Facts, wanted step.ImageSpec, name string, isWanted func(ec2types.Image) bool,
) existingImages {
	statement := wanted.Signing.Statement
	at := distribution.Location{Account: statement.Account, Region: statement.Region}
	var found existingImages
	for _, image := range facts.Earlier[at].Images {
		if !hasSource(image.Tags, statement.Source) || name != "" && aws.ToString(image.Name) != name {
			continue
		}
		j := judge(facts, imageResource(facts, at, image, []string{wanted.Name}))
		if j.Signed != nil && (j.Signed.Role != statement.Role || j.Signed.Device != statement.Device) {
			continue // for another purpose
		}
		found.add(image, j, isWanted)
	}

	if found.use != nil && found.pending != nil {
		if !hasImage(found.working, *found.pending) {
			found.unfinished = append(found.unfinished, *found.pending)
		}
		found.pending = nil
	}

	return found
}

// add adds an image to the list that its judgment decides.
func (e *existingImages) add(image ec2types.Image, j provenance.Judgment, isWanted func(ec2types.Image) bool) {
	if j.Verdict == provenance.Working {
		e.working = append(e.working, image)
	}

	switch {
	case j.Verdict == provenance.Unproven:
		e.unproven = append(e.unproven, image)
	case j.Verdict == provenance.Working && (j.Signed == nil || j.Signed.Role == provenance.Temporary):
		// no list: the active run that created the image will sign or delete it
	case j.Verdict == provenance.Deletable:
		e.unfinished = append(e.unfinished, image)
	case image.State == ec2types.ImageStatePending:
		e.addPending(image, j)
	case isUsable(image) && isWanted(image) && e.use == nil:
		e.use = &image
	case isUsable(image) && j.Signed.Role == provenance.Delivery:
		e.changed = append(e.changed, image)
	case j.Verdict != provenance.Working:
		e.unfinished = append(e.unfinished, image)
	}
}

// addPending adds an image that AWS still creates to the image to wait for or to the unfinished ones. A run waits for
// only one image.
func (e *existingImages) addPending(image ec2types.Image, j provenance.Judgment) {
	switch {
	case e.pending == nil:
		e.pending = &image
	case j.Verdict == provenance.Working:
		// no list: the active run that created the image will complete it
	default:
		e.unfinished = append(e.unfinished, image)
	}
}

// isUsable reports whether an image can be launched, now or after it is enabled.
func isUsable(image ec2types.Image) bool {
	return image.State == ec2types.ImageStateAvailable || image.State == ec2types.ImageStateDisabled
}

// imageResource returns an image for a judgment. names are the names that runs give images at the location.
func imageResource(
	facts distribution.Facts, at distribution.Location, image ec2types.Image, names []string,
) provenance.Resource {
	return distribution.ImageResource(at, image, snapshotsByID(facts.Earlier[at]), expectedImage(facts, names))
}

// expectedImage returns what a run would give an image with one of the names.
func expectedImage(facts distribution.Facts, names []string) provenance.Expected {
	expected := provenance.Expected{Names: names}
	for _, region := range sortedKeys(facts.Images) {
		if image := facts.Images[region].Image; image != nil {
			expected.SourceImageIDs = append(expected.SourceImageIDs, aws.ToString(image.ImageId))
		}
	}

	for _, at := range sortedLocations(facts.Earlier) {
		if at.Account != facts.Source.Account {
			continue
		}
		for _, image := range facts.Earlier[at].Images { // add the key of staged images
			expected.SourceImageIDs = append(expected.SourceImageIDs, aws.ToString(image.ImageId))
		}
	}

	return expected
}

func snapshotsByID(existing distribution.ExistingResources) map[string]ec2types.Snapshot {
	all := make(map[string]ec2types.Snapshot, len(existing.Snapshots))
	for _, s := range existing.Snapshots {
		all[aws.ToString(s.SnapshotId)] = s
	}
	return all
}

// imageAt returns the images that earlier runs created for a destination.
func (a *Assessment) imageAt(d distribution.Destination) existingImages {
	key := destinationKey{d.Target, d.At, d.FromRegion}
	found, isKnown := a.existing[key]
	if !isKnown {
		found = findImages(a.facts, a.destinationImageSpec(d), d.Name, func(image ec2types.Image) bool {
			return len(a.imageDifferences(d, image)) == 0
		})
		a.existing[key] = found
	}
	return found
}

// imageDifferences returns how a destination's image and snapshots differ from the expected ones.
func (a *Assessment) imageDifferences(d distribution.Destination, image ec2types.Image) []string {
	differences := a.destinationImageSpec(d).Differences(image)
	snapshots := snapshotsByID(a.facts.Earlier[d.At])
	for _, v := range volumes(a.facts.Images[d.FromRegion]) {
		for _, device := range v.devices {
			why := snapshotDifference(snapshots[snapshotOf(image, device)], v, d.At.Account, destinationKeyARN(d, a.facts))
			if why != "" {
				differences = append(differences, device+": "+why)
			}
		}
	}
	return differences
}

// snapshotDifference returns why a snapshot is not a copy of a volume under a key. Empty if it is one.
func snapshotDifference(s ec2types.Snapshot, v volume, owner, keyARN string) string {
	switch {
	case s.SnapshotId == nil:
		return "AWS does not show its snapshot"
	case aws.ToString(s.OwnerId) != owner:
		return "its snapshot belongs to account " + aws.ToString(s.OwnerId)
	case !isComplete(s):
		return "its snapshot is not complete"
	case aws.ToString(s.KmsKeyId) != keyARN:
		return "its snapshot is not encrypted with " + keyARN
	case int64(aws.ToInt32(s.VolumeSize)) != v.gib():
		return fmt.Sprintf("its snapshot has %d GiB and not %d", aws.ToInt32(s.VolumeSize), v.gib())
	}
	return ""
}

// snapshotOf returns the snapshot of a device. Empty if there is none.
func snapshotOf(image ec2types.Image, device string) string {
	for _, m := range image.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == device && m.Ebs != nil {
			return aws.ToString(m.Ebs.SnapshotId)
		}
	}
	return ""
}

func hasImage(images []ec2types.Image, image ec2types.Image) bool {
	return slices.ContainsFunc(images, func(i ec2types.Image) bool {
		return aws.ToString(i.ImageId) == aws.ToString(image.ImageId)
	})
}

func tagMap(tags []ec2types.Tag) map[string]string { return distribution.TagMap(tags) }

// parseTime parses a date of EC2. Zero if there is none.
func parseTime(date *string) time.Time {
	at, _ := time.Parse(time.RFC3339, aws.ToString(date))
	return at
}
