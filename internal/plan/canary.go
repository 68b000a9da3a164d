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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// A canary is an empty snapshot of one GiB under the key of what is staged. While the big copies are on their way, every destination
// that waits for them copies it under its own key: what stands against that is known in a minute, and not after the stage.

const (
	canaryGiB  = 1
	canaryTime = time.Minute // a volume, its snapshot, or a copy of it, roughly (4.6.4)
)

// canary tries the destinations of an offer that wait for something to be staged.
func (b *builder) canary(o *preparedSource, goals []destinationState) {
	trying := slices.DeleteFunc(slices.Clone(goals), func(g destinationState) bool { return !o.needsCanary(g) })
	if len(trying) == 0 || !b.tries(goals) {
		return
	}
	mark, key := o.mark(b.req, b.facts, origin.Canary), b.facts.Images[o.from].SealKey
	head := func(kind string) step.Base {
		return step.Base{ID: step.NewID(kind, o.at.Region), Location: o.at, ExpectedDuration: callTime}
	}
	volume := &step.CreateVolume{Base: head("canary-volume"), KeyARN: o.keyARN, GiB: canaryGiB, Tags: mark.Tags(key), Mark: mark, SealKey: key}
	volume.ExpectedDuration = canaryTime
	b.add(volume)
	source := &step.CreateSnapshot{Base: head("canary"), Volume: step.Ref{From: volume.ID}, KeyARN: o.keyARN, GiB: canaryGiB,
		Description: key.Description("Empty, to try copies to other accounts with", mark, "canary"), Tags: mark.Tags(key), Mark: mark, SealKey: key}
	source.DependsOn, source.ExpectedDuration = []distribution.StepID{volume.ID}, canaryTime
	b.add(source)
	drop := &step.DeleteVolume{Base: head("canary-volume-delete"), Volume: step.Ref{From: volume.ID}}
	drop.RunsAfter = []distribution.StepID{volume.ID, source.ID}
	b.add(drop)
	ready := b.shareCanary(o, source, trying)
	done := []distribution.StepID{source.ID}
	for _, g := range trying {
		done = append(done, b.tryCanary(o, g, source, ready)...)
	}
	end := &step.DeleteSnapshot{Base: head("canary-delete"), Snapshot: step.Ref{From: source.ID}, Device: origin.Canary}
	end.RunsAfter = done
	b.add(end)
}

// tries reports whether canaries are wanted: as the request says, else where there is more than one destination to copy to.
func (b *builder) tries(goals []destinationState) bool {
	if b.req.TestCopy != nil {
		return *b.req.TestCopy
	}
	copying := slices.DeleteFunc(slices.Clone(goals), func(g destinationState) bool { return g.image != nil })
	return len(copying) > 1
}

// keepsWaiting reports whether a destination has to copy something of an offer that is not staged yet.
func (o *preparedSource) needsCanary(g destinationState) bool {
	return o.serves(g.At) && slices.ContainsFunc(o.items, func(it sourceVolume) bool {
		return it.staged && g.wants(it.id()) && o.ready[it.id()].ref.From != ""
	})
}

// shareCanary lets the accounts use the canary; the steps to wait for.
func (b *builder) shareCanary(o *preparedSource, source *step.CreateSnapshot, trying []destinationState) []distribution.StepID {
	var accounts []string
	for _, g := range trying {
		if g.At.Account != o.at.Account && !slices.Contains(accounts, g.At.Account) {
			accounts = append(accounts, g.At.Account)
		}
	}
	slices.Sort(accounts)
	ready := []distribution.StepID{source.ID}
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		newStep := &step.ShareSnapshot{Base: step.Base{ID: step.NewID("canary-share", o.at.Region), Location: o.at, DependsOn: slices.Clone(ready), ExpectedDuration: callTime}, Snapshot: step.Ref{From: source.ID}, Device: origin.Canary, Accounts: chunk}
		if i > 0 {
			newStep.ID += distribution.StepID(fmt.Sprintf("/%d", i+1))
		}
		ready = append(ready, b.add(newStep))
	}
	return ready
}

// tryCanary has a destination copy the canary under its own key, looks at the copy, and removes it.
func (b *builder) tryCanary(o *preparedSource, g destinationState, source *step.CreateSnapshot, ready []distribution.StepID) []distribution.StepID {
	mark, key := destinationMark(g.Destination, b.req, b.facts, origin.Canary), b.facts.Images[g.FromRegion].SealKey
	head := func(kind string) step.Base {
		return step.Base{ID: step.NewID(kind, g.At.Account, g.At.Region), Location: g.At, Destination: g.At, ExpectedDuration: callTime}
	}
	copied := &step.CopySnapshot{Base: head("canary-copy"), Source: step.Ref{From: source.ID}, FromRegion: o.at.Region, FromKeyARN: o.keyARN, Device: origin.Canary, KeyARN: g.keyARN, GiB: canaryGiB,
		Description: key.Description("Empty, to try copies to this account with", mark, "canary copy"), Tags: joined(g.SnapshotTags, mark.Tags(key)), Mark: mark, SealKey: key, Trial: true}
	copied.DependsOn, copied.ExpectedDuration, copied.Queue = slices.Clone(ready), canaryTime, step.SnapshotCopyQueue(g.At)
	if a := b.grantSourceKey(g, o.shareSource, o.keyARN); a != nil {
		copied.DependsOn, a.users = append(copied.DependsOn, a.await), append(a.users, copied.ID)
	}
	b.add(copied)
	verify := &step.VerifySnapshot{Base: head("canary-verify"), ExpectedSnapshot: step.ExpectedSnapshot{Snapshot: step.Ref{From: copied.ID}, KeyARN: g.keyARN, GiB: canaryGiB}}
	verify.DependsOn = []distribution.StepID{copied.ID}
	b.add(verify)
	end := &step.DeleteSnapshot{Base: step.Base{ID: step.NewID("canary-delete", g.At.Account, g.At.Region), Location: g.At, RunsAfter: []distribution.StepID{copied.ID, verify.ID}, ExpectedDuration: callTime},
		Snapshot: step.Ref{From: copied.ID}, Device: origin.Canary}
	return []distribution.StepID{copied.ID, b.add(end)}
}

// endCanaries removes what canaries of earlier runs left at a place: snapshots, and volumes.
func (b *builder) deleteCanaries(at distribution.Location, mark origin.Mark, key origin.Key) {
	snapshots, _ := earlierCanaries(b.facts, at, mark, key)
	b.deleteSnapshots(at, distribution.Location{}, snapshots)
	volumes, _ := earlierVolumes(b.facts, at, mark, key)
	for _, v := range volumes {
		volume := aws.ToString(v.VolumeId)
		b.add(&step.DeleteVolume{Base: step.Base{ID: step.NewID("delete", at.Account, at.Region, volume), Location: at, ExpectedDuration: callTime}, Volume: step.Ref{Known: volume}})
	}
}

// earlierCanaries are the snapshots that canaries of earlier runs left at a place.
func earlierCanaries(facts distribution.Facts, at distribution.Location, wanted origin.Mark, key origin.Key) (ours, alien []existingSnapshot) {
	mine, others := proven(facts, facts.Earlier[at].Snapshots, wanted, key, func(s ec2types.Snapshot) (string, []ec2types.Tag, string, string, time.Time) {
		return aws.ToString(s.SnapshotId), s.Tags, aws.ToString(s.KmsKeyId), aws.ToString(s.Description), aws.ToTime(s.StartTime)
	})
	for _, s := range mine {
		ours = append(ours, existingSnapshot{Snapshot: s})
	}
	for _, s := range others {
		alien = append(alien, existingSnapshot{Snapshot: s})
	}
	return ours, alien
}

// earlierVolumes are the volumes that canaries of earlier runs left at a place.
func earlierVolumes(facts distribution.Facts, at distribution.Location, wanted origin.Mark, key origin.Key) (ours, alien []ec2types.Volume) {
	return proven(facts, facts.Earlier[at].Volumes, wanted, key, func(v ec2types.Volume) (string, []ec2types.Tag, string, string, time.Time) {
		return aws.ToString(v.VolumeId), v.Tags, aws.ToString(v.KmsKeyId), "", aws.ToTime(v.CreateTime)
	})
}

// proven sorts things with the tags of a mark: ours, and those that only look like it. What belongs
// to another run that works is left out. read returns id, tags, key (empty while AWS shows none, 4.6.1), evidence of the creating call, and the time of creation.
func proven[T any](facts distribution.Facts, all []T, wanted origin.Mark, key origin.Key, read func(T) (id string, tags []ec2types.Tag, keyARN, evidence string, created time.Time)) (ours, alien []T) {
	proofs := make([]origin.Proof, len(all))
	for i, one := range all {
		id, list, keyARN, evidence, _ := read(one)
		tags, mark := tagMap(list), wanted
		if tags[origin.Source] != wanted.Source() {
			continue
		}
		if keyARN != "" {
			mark.KeyARN = keyARN
		}
		if proofs[i] = mark.Prove(key, id, tags); mark.WasCalled(key, evidence, tags) {
			proofs[i] = origin.Both // it may be deleted, which is all that is done with it
		}
	}
	for i, one := range all {
		_, list, _, _, created := read(one)
		tags := tagMap(list)
		switch {
		case tags[origin.Source] != wanted.Source():
		case proofs[i] != origin.Both:
			alien = append(alien, one)
		case facts.IsWorking(tags[origin.Run], created):
		default:
			ours = append(ours, one)
		}
	}
	return ours, alien
}
