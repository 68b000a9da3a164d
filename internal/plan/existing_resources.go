// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// besides is what is left when an image has one of the snapshots already: all others are of no use.
func (l existingSnapshots) besides(id string) existingSnapshots {
	rest := existingSnapshots{alien: l.alien, working: l.working}
	for _, c := range l.all() {
		if c.id() != id {
			rest.surplus = append(rest.surplus, c)
		}
	}
	return rest
}

// all are the snapshots that are ours.
func (l existingSnapshots) all() []existingSnapshot {
	if l.use == nil {
		return l.surplus
	}
	return append([]existingSnapshot{*l.use}, l.surplus...)
}

// candidate is a snapshot that bears our tags, at the place of a copy.
type existingSnapshot struct {
	ec2types.Snapshot
	proof origin.Proof
}

func (c existingSnapshot) id() string { return aws.ToString(c.SnapshotId) }

// leftovers are what earlier runs left of one copy.
type existingSnapshots struct {
	use     *existingSnapshot  // to be taken over: completed, or still under way
	surplus []existingSnapshot // ours, and of no use: failed, or a second one
	alien   []existingSnapshot // bears our tags without proof: never used, never removed
	working []existingSnapshot // of another run that works: never used, never removed
}

// earlierCopies judges the snapshots that earlier runs left of a volume at a place. One is taken over only if owner, size, key,
// start and seal are right; with the first seal alone, only where there is no second of its run. What belongs to an image under
// another name than the given one is left out: it is that image's.
func earlierCopies(facts distribution.Facts, v volume, at distribution.Location, wanted origin.Mark, name string) existingSnapshots {
	var found existingSnapshots
	var ours []existingSnapshot
	for _, s := range facts.Earlier[at].Snapshots {
		tags := tagMap(s.Tags)
		if tags[origin.Source] != wanted.Source() || belongsToImage(facts.Earlier[at], aws.ToString(s.SnapshotId), name) {
			continue
		}
		own := wanted
		if s.State == ec2types.SnapshotStateCompleted { // a pending copy shows no key yet (4.6.1)
			own.KeyARN = aws.ToString(s.KmsKeyId)
		}
		c := existingSnapshot{s, own.Prove(facts.Images[wanted.Region].SealKey, aws.ToString(s.SnapshotId), tags)}
		created := own.WasCalled(facts.Images[wanted.Region].SealKey, aws.ToString(s.Description), tags)
		if created && !facts.IsWorking(tags[origin.Run], aws.ToTime(s.StartTime)) { // the run died before it could sign it
			found.surplus = append(found.surplus, c)
			continue
		}
		if c.proof != origin.Both && !created || aws.ToString(s.OwnerId) != at.Account || aws.ToString(s.VolumeId) != copiedVolume || aws.ToTime(s.StartTime).Before(aws.ToTime(v.snapshot.StartTime)) {
			found.alien = append(found.alien, c)
			continue
		}
		if facts.IsWorking(tags[origin.Run], aws.ToTime(s.StartTime)) {
			found.working = append(found.working, c)
			continue
		}
		ours = append(ours, c)
	}
	for _, c := range ours {
		switch {
		case c.failed() || c.done() && (aws.ToString(c.KmsKeyId) != wanted.KeyARN || int64(aws.ToInt32(c.VolumeSize)) != v.gib()):
			found.surplus = append(found.surplus, c)
		case found.use == nil:
			found.use = &c
		case c.before(*found.use):
			found.surplus = append(found.surplus, *found.use)
			found.use = &c
		default:
			found.surplus = append(found.surplus, c)
		}
	}
	return found
}

// copiesAt are the copies of a volume that earlier runs left at a destination.
func copiesAt(req distribution.Request, facts distribution.Facts, d distribution.Destination, v volume) existingSnapshots {
	return earlierCopies(facts, v, d.At, destinationMark(d, req, facts, v.device()), d.Name)
}

// stagedAt are the copies of a volume that earlier runs staged.
func stagedAt(req distribution.Request, facts distribution.Facts, s *shareSource, v volume) existingSnapshots {
	return earlierCopies(facts, v, s.at, s.mark(req, facts, v.device()), "")
}

// belongs reports whether a snapshot is part of an image under another name.
func belongsToImage(e distribution.ExistingResources, snapshot, name string) bool {
	return slices.ContainsFunc(e.Images, func(i ec2types.Image) bool {
		return aws.ToString(i.Name) != name && builtOn(i, snapshot)
	})
}

// builtOn reports an image of which a device starts from a snapshot.
func builtOn(image ec2types.Image, snapshot string) bool {
	return slices.ContainsFunc(image.BlockDeviceMappings, func(m ec2types.BlockDeviceMapping) bool {
		return m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) == snapshot
	})
}

// copiedVolume is the volume id of every copied snapshot (1.3.11).
const copiedVolume = "vol-ffffffff"

func (c existingSnapshot) done() bool   { return c.State == ec2types.SnapshotStateCompleted }
func (c existingSnapshot) failed() bool { return c.State == ec2types.SnapshotStateError }

// before prefers what is done, then what was begun first.
func (c existingSnapshot) before(o existingSnapshot) bool {
	if c.done() != o.done() {
		return c.done()
	}
	if begun, other := aws.ToTime(c.StartTime), aws.ToTime(o.StartTime); !begun.Equal(other) {
		return begun.Before(other)
	}
	return c.id() < o.id()
}

// remains are what earlier runs left of one image.
type existingImages struct {
	use     *ec2types.Image  // finished
	pending *ec2types.Image  // still being copied
	changed []ec2types.Image // it stands, and is not what it has to be now: somebody changed it or its key, or the template has
	broken  []ec2types.Image // ours, and never finished, or a second one
	alien   []ec2types.Image // bears our tags without proof: never used, never removed
	working []ec2types.Image // of another run that works: never removed; one that is to be a destination's is waited for, or used
}

// all are the images that are ours to go on with, or to remove.
func (r existingImages) all() []ec2types.Image {
	all := slices.Clone(r.broken)
	for _, image := range []*ec2types.Image{r.use, r.pending} {
		if image != nil {
			all = append(all, *image)
		}
	}
	return all
}

// earlierImages judges the images that earlier runs left at a place: one is taken over if it is ours, of the wanted name, and right.
// One that is still being copied shows no devices yet. Any name will do where none is wanted. What stands under a wanted name may be in use, whether
// its run could give it the second seal or not: one that died before it did looks like one whose role may not tag what is there.
func earlierImages(facts distribution.Facts, at distribution.Location, wanted origin.Mark, name string, right func(ec2types.Image) bool) existingImages {
	var found existingImages
	key := facts.Images[wanted.Region].SealKey
	for _, image := range facts.Earlier[at].Images {
		if tagMap(image.Tags)[origin.Source] != wanted.Source() {
			continue
		}
		ours := wanted.Prove(key, aws.ToString(image.ImageId), tagMap(image.Tags)) == origin.Both && aws.ToString(image.OwnerId) == at.Account
		working := facts.IsWorking(tagMap(image.Tags)[origin.Run], parseTime(image.CreationDate))
		if ours && working {
			found.working = append(found.working, image)
		}
		switch {
		case ours && working && (wanted.Staged == origin.Temporary || image.State != ec2types.ImageStatePending && !right(image)):
			// the other run removes it, or completes it
		case !ours:
			found.alien = append(found.alien, image)
		case name != "" && aws.ToString(image.Name) != name:
			// an earlier release under another name: not in the way
		case image.State == ec2types.ImageStatePending && found.pending == nil:
			found.pending = &image
		case name != "" && isUsable(image) && !right(image):
			found.changed = append(found.changed, image)
		case image.State == ec2types.ImageStatePending || !right(image) || found.use != nil:
			found.broken = append(found.broken, image)
		default:
			found.use = &image
		}
	}
	if found.use != nil && found.pending != nil {
		if !has(found.working, *found.pending) {
			found.broken = append(found.broken, *found.pending)
		}
		found.pending = nil
	}
	return found
}

// stands reports an image that can be launched, or could until it was disabled.
func isUsable(image ec2types.Image) bool {
	return image.State == ec2types.ImageStateAvailable || image.State == ec2types.ImageStateDisabled
}

// imageAt is what earlier runs left of a destination's image.
func imageAt(req distribution.Request, facts distribution.Facts, d distribution.Destination) existingImages {
	like := destinationImageSpec(d, req, facts)
	return earlierImages(facts, d.At, like.Mark, d.Name, func(image ec2types.Image) bool { return len(imageDifferences(req, facts, d, image)) == 0 })
}

// misfits are what an image is not as it has to be in: its attributes, and that every volume starts from a copy that is ours, under the wanted key.
func imageDifferences(req distribution.Request, facts distribution.Facts, d distribution.Destination, image ec2types.Image) []string {
	differences := destinationImageSpec(d, req, facts).Differences(image)
	for _, v := range volumes(facts.Images[d.FromRegion]) {
		found := copiesAt(req, facts, d, v)
		copies := slices.Concat(found.all(), found.working)
		for _, device := range v.devices {
			id := snapshotOf(image, device)
			single := slices.ContainsFunc(copies, func(c existingSnapshot) bool {
				return c.id() == id && c.done() && aws.ToString(c.KmsKeyId) == destinationKeyARN(d, facts)
			})
			if !single && !wasCopiedWith(facts, d.At, destinationMark(d, req, facts, origin.Whole), id, v) {
				differences = append(differences, fmt.Sprintf("%s: not from a copy of ours under %s", device, destinationKeyARN(d, facts)))
			}
		}
	}
	return differences
}

// copiedWith reports whether a snapshot was made by CopyImage with an image of ours: AWS lets that give all snapshots the same tags only, so
// their seal is one over the whole image.
func wasCopiedWith(f distribution.Facts, at distribution.Location, wanted origin.Mark, id string, v volume) bool {
	i := slices.IndexFunc(f.Earlier[at].Snapshots, func(s ec2types.Snapshot) bool { return aws.ToString(s.SnapshotId) == id })
	if i < 0 {
		return false
	}
	s := f.Earlier[at].Snapshots[i]
	return wanted.Prove(f.Images[wanted.Region].SealKey, id, tagMap(s.Tags)) != origin.None && aws.ToString(s.OwnerId) == at.Account && aws.ToString(s.VolumeId) == copiedVolume &&
		s.State == ec2types.SnapshotStateCompleted && aws.ToString(s.KmsKeyId) == wanted.KeyARN && int64(aws.ToInt32(s.VolumeSize)) == v.gib()
}

// strays are snapshots that CopyImage made for an image of ours that is no more. One that is under way may be of an image that was begun between the looks.
func orphanedSnapshots(f distribution.Facts, at distribution.Location, wanted origin.Mark) []existingSnapshot {
	var found []existingSnapshot
	for _, s := range f.Earlier[at].Snapshots {
		tags, image := tagMap(s.Tags), origin.MadeFor(aws.ToString(s.Description))
		if tags[origin.Source] != wanted.Source() || image == "" || s.State == ec2types.SnapshotStatePending {
			continue
		}
		own := wanted
		if s.State == ec2types.SnapshotStateCompleted { // another shows no key (4.6.1)
			own.KeyARN = aws.ToString(s.KmsKeyId)
		}
		there := slices.ContainsFunc(f.Earlier[at].Images, func(i ec2types.Image) bool { return aws.ToString(i.ImageId) == image })
		if c := (existingSnapshot{s, own.Prove(f.Images[wanted.Region].SealKey, aws.ToString(s.SnapshotId), tags)}); !there && c.proof != origin.None && aws.ToString(s.OwnerId) == at.Account {
			found = append(found, c)
		}
	}
	return found
}

// snapshotOf is the snapshot that a device of an image starts from; "" for none.
func snapshotOf(image ec2types.Image, device string) string {
	for _, m := range image.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == device && m.Ebs != nil {
			return aws.ToString(m.Ebs.SnapshotId)
		}
	}
	return ""
}

// workingFindings name what belongs to other runs that work.
func workingFindings(req distribution.Request, facts distribution.Facts, destinations []distribution.Destination, supplies []*shareSource) []distribution.Finding {
	var findings []distribution.Finding
	add := func(at distribution.Location, kind, id string) {
		findings = append(findings, distribution.Finding{Level: distribution.Note, Location: at, Resource: id,
			Summary: fmt.Sprintf("the %s %s belongs to another run that works on the same image", kind, id), Detail: "that run removes it, or a run after it does"})
	}
	for _, d := range destinations {
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			for _, c := range copiesAt(req, facts, d, v).working {
				add(d.At, "snapshot", c.id())
			}
		}
	}
	for _, s := range supplies {
		for _, image := range stagedImages(req, facts, s).working {
			add(s.at, "image", aws.ToString(image.ImageId))
		}
		for _, it := range s.items {
			for _, c := range stagedAt(req, facts, s, it.volume).working {
				add(s.at, "snapshot", c.id())
			}
		}
	}
	return findings
}

// alienFindings name everything that bears our tags without proof.
func alienFindings(req distribution.Request, facts distribution.Facts, destinations []distribution.Destination, supplies []*shareSource) []distribution.Finding {
	var findings []distribution.Finding
	for _, d := range destinations {
		for _, image := range imageAt(req, facts, d).alien {
			findings = append(findings, alien(d.At, "image", aws.ToString(image.ImageId)))
		}
		_, instances := earlierLaunches(req, facts, d)
		for _, i := range instances {
			findings = append(findings, alien(d.At, "instance", aws.ToString(i.InstanceId)))
		}
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			for _, c := range copiesAt(req, facts, d, v).alien {
				findings = append(findings, alien(d.At, "snapshot", c.id()))
			}
		}
	}
	for _, d := range destinations {
		for _, c := range orphanedSnapshots(facts, d.At, destinationMark(d, req, facts, origin.Whole)) {
			findings = append(findings, alien(d.At, "snapshot", c.id()))
		}
		_, canaries := earlierCanaries(facts, d.At, destinationMark(d, req, facts, origin.Canary), facts.Images[d.FromRegion].SealKey)
		for _, c := range canaries {
			findings = append(findings, alien(d.At, "snapshot", c.id()))
		}
	}
	for _, s := range supplies {
		mark, key := s.mark(req, facts, origin.Canary), facts.Images[s.from].SealKey
		_, canaries := earlierCanaries(facts, s.at, mark, key)
		for _, c := range canaries {
			findings = append(findings, alien(s.at, "snapshot", c.id()))
		}
		_, volumes := earlierVolumes(facts, s.at, mark, key)
		for _, v := range volumes {
			findings = append(findings, alien(s.at, "volume", aws.ToString(v.VolumeId)))
		}
	}
	for _, s := range supplies {
		for _, c := range orphanedSnapshots(facts, s.at, s.mark(req, facts, origin.Whole)) {
			findings = append(findings, alien(s.at, "snapshot", c.id()))
		}
		for _, image := range stagedImages(req, facts, s).alien {
			findings = append(findings, alien(s.at, "image", aws.ToString(image.ImageId)))
		}
		for _, it := range s.items {
			for _, c := range stagedAt(req, facts, s, it.volume).alien {
				findings = append(findings, alien(s.at, "snapshot", c.id()))
			}
		}
	}
	return findings
}

func alien(at distribution.Location, kind, id string) distribution.Finding {
	return distribution.Finding{Level: distribution.Warning, Reference: "2.1.8", Location: at, Resource: id,
		Summary:     fmt.Sprintf("the %s %s bears our tags, but is not provably ours", kind, id),
		Detail:      "its seal is missing, wrong or copied; whoever may tag in the account can write tags",
		Remediation: "it is neither used nor removed; find out where it comes from, and delete it if it is not wanted"}
}

func tagMap(tags []ec2types.Tag) map[string]string {
	all := make(map[string]string, len(tags))
	for _, tag := range tags {
		all[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return all
}
