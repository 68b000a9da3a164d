// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// A canary is an empty snapshot of one GiB under the key of what is staged. While the big copies are on their way, every destination
// that waits for them copies it under its own key: what stands against that is known in a minute, and not after the stage.

const (
	canaryGiB  = 1
	canaryTime = time.Minute // a volume, its snapshot, or a copy of it, roughly (4.6.4)
)

// canary tries the destinations of an offer that wait for something to be staged.
func (b *builder) canary(o *offer, goals []goal) {
	trying := slices.DeleteFunc(slices.Clone(goals), func(g goal) bool { return !o.keepsWaiting(g) })
	if len(trying) == 0 || !b.tries(goals) {
		return
	}
	mark, key := o.mark(b.req, b.facts, origin.Canary), b.facts.Images[o.from].SealKey
	head := func(kind string) Head { return Head{Step: id(kind, o.at.Region), At: o.at, Takes: callTime} }
	volume := &CreateVolume{Head: head("canary-volume"), KeyARN: o.keyARN, GiB: canaryGiB, Tags: mark.Tags(key), Mark: mark, SealKey: key}
	volume.Takes = canaryTime
	b.add(volume)
	source := &CreateSnapshot{Head: head("canary"), Volume: Ref{From: volume.Step}, KeyARN: o.keyARN, GiB: canaryGiB,
		Description: "Empty, to try copies to other accounts with", Tags: mark.Tags(key), Mark: mark, SealKey: key}
	source.Needs, source.Takes = []ID{volume.Step}, canaryTime
	b.add(source)
	drop := &DeleteVolume{Head: head("canary-volume-delete"), Volume: Ref{From: volume.Step}}
	drop.After = []ID{volume.Step, source.Step}
	b.add(drop)
	ready := b.shareCanary(o, source, trying)
	done := []ID{source.Step}
	for _, g := range trying {
		done = append(done, b.tryCanary(o, g, source, ready)...)
	}
	end := &DeleteSnapshot{Head: head("canary-delete"), Snapshot: Ref{From: source.Step}, Device: origin.Canary}
	end.After = done
	b.add(end)
}

// tries reports whether canaries are wanted: as the request says, else where there is more than one destination to copy to.
func (b *builder) tries(goals []goal) bool {
	if b.req.Canary != nil {
		return *b.req.Canary
	}
	copying := slices.DeleteFunc(slices.Clone(goals), func(g goal) bool { return g.image != nil })
	return len(copying) > 1
}

// keepsWaiting reports whether a destination has to copy something of an offer that is not staged yet.
func (o *offer) keepsWaiting(g goal) bool {
	return o.serves(g.At) && slices.ContainsFunc(o.items, func(it item) bool {
		return it.staged && g.wants(it.id()) && o.ready[it.id()].ref.From != ""
	})
}

// shareCanary lets the accounts use the canary; the steps to wait for.
func (b *builder) shareCanary(o *offer, source *CreateSnapshot, trying []goal) []ID {
	var accounts []string
	for _, g := range trying {
		if g.At.Account != o.at.Account && !slices.Contains(accounts, g.At.Account) {
			accounts = append(accounts, g.At.Account)
		}
	}
	slices.Sort(accounts)
	ready := []ID{source.Step}
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		step := &ShareSnapshot{Head: Head{Step: id("canary-share", o.at.Region), At: o.at, Needs: slices.Clone(ready), Takes: callTime}, Snapshot: Ref{From: source.Step}, Device: origin.Canary, Accounts: chunk}
		if i > 0 {
			step.Step += ID(fmt.Sprintf("/%d", i+1))
		}
		ready = append(ready, b.add(step))
	}
	return ready
}

// tryCanary has a destination copy the canary under its own key, looks at the copy, and removes it.
func (b *builder) tryCanary(o *offer, g goal, source *CreateSnapshot, ready []ID) []ID {
	mark, key := g.mark(b.req, b.facts, origin.Canary), b.facts.Images[g.FromRegion].SealKey
	head := func(kind string) Head {
		return Head{Step: id(kind, g.At.Account, g.At.Region), At: g.At, For: g.At, Takes: callTime}
	}
	copied := &CopySnapshot{Head: head("canary-copy"), Source: Ref{From: source.Step}, FromRegion: o.at.Region, FromKeyARN: o.keyARN, Device: origin.Canary, KeyARN: g.keyARN, GiB: canaryGiB,
		Description: "Empty, to try copies to this account with", Tags: joined(g.SnapshotTags, mark.Tags(key)), Mark: mark, SealKey: key, Trial: true}
	copied.Needs, copied.Takes, copied.Lane = slices.Clone(ready), canaryTime, copyLane(g.At)
	if a := b.admit(g, o.supply, o.keyARN); a != nil {
		copied.Needs, a.users = append(copied.Needs, a.await), append(a.users, copied.Step)
	}
	b.add(copied)
	verify := &VerifySnapshot{Head: head("canary-verify"), Wanted: Wanted{Snapshot: Ref{From: copied.Step}, KeyARN: g.keyARN, GiB: canaryGiB}}
	verify.Needs = []ID{copied.Step}
	b.add(verify)
	end := &DeleteSnapshot{Head: Head{Step: id("canary-delete", g.At.Account, g.At.Region), At: g.At, After: []ID{copied.Step, verify.Step}, Takes: callTime},
		Snapshot: Ref{From: copied.Step}, Device: origin.Canary}
	return []ID{copied.Step, b.add(end)}
}

// endCanaries removes what canaries of earlier runs left at a place: snapshots, and volumes.
func (b *builder) endCanaries(at Place, mark origin.Mark, key origin.Key) {
	snapshots, _ := earlierCanaries(b.facts, at, mark, key)
	b.drop(at, Place{}, snapshots)
	volumes, _ := earlierVolumes(b.facts, at, mark, key)
	for _, v := range volumes {
		volume := aws.ToString(v.VolumeId)
		b.add(&DeleteVolume{Head: Head{Step: id("delete", at.Account, at.Region, volume), At: at, Takes: callTime}, Volume: Ref{Known: volume}})
	}
}

// earlierCanaries are the snapshots that canaries of earlier runs left at a place.
func earlierCanaries(facts Facts, at Place, wanted origin.Mark, key origin.Key) (ours, alien []candidate) {
	mine, others := proven(facts.Earlier[at].Snapshots, wanted, key, func(s ec2types.Snapshot) (string, []ec2types.Tag, string) {
		return aws.ToString(s.SnapshotId), s.Tags, aws.ToString(s.KmsKeyId)
	})
	for _, s := range mine {
		ours = append(ours, candidate{Snapshot: s})
	}
	for _, s := range others {
		alien = append(alien, candidate{Snapshot: s})
	}
	return ours, alien
}

// earlierVolumes are the volumes that canaries of earlier runs left at a place.
func earlierVolumes(facts Facts, at Place, wanted origin.Mark, key origin.Key) (ours, alien []ec2types.Volume) {
	return proven(facts.Earlier[at].Volumes, wanted, key, func(v ec2types.Volume) (string, []ec2types.Tag, string) {
		return aws.ToString(v.VolumeId), v.Tags, aws.ToString(v.KmsKeyId)
	})
}

// proven sorts things with the tags of a mark: ours, and those that only look like it. With the first seal alone a thing is ours only where
// there is no second of its run. read is a thing's id, its tags, and the key it is under; "" for none, and while AWS shows none (4.6.1).
func proven[T any](all []T, wanted origin.Mark, key origin.Key, read func(T) (id string, tags []ec2types.Tag, keyARN string)) (ours, alien []T) {
	runs, proofs := map[string]int{}, make([]origin.Proof, len(all))
	for i, one := range all {
		id, list, keyARN := read(one)
		tags, mark := tagMap(list), wanted
		if tags[origin.Source] != wanted.Source() {
			continue
		}
		if keyARN != "" {
			mark.KeyARN = keyARN
		}
		proofs[i] = mark.Prove(key, id, tags)
		runs[tags[origin.Run]]++
	}
	for i, one := range all {
		_, list, _ := read(one)
		tags := tagMap(list)
		switch {
		case tags[origin.Source] != wanted.Source():
		case proofs[i] == origin.None || proofs[i] == origin.First && runs[tags[origin.Run]] > 1:
			alien = append(alien, one)
		default:
			ours = append(ours, one)
		}
	}
	return ours, alien
}
