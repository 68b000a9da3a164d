// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// maxShared is how many accounts one sharing call takes (rule 2.1.6).
const maxShared = 500

// ownTags is how many tags of ours a thing gets: source, run, two seals.
const ownTags = 4

// builder puts the steps of a plan together, each after all that it waits for.
type builder struct {
	req   Request
	facts Facts
	steps []Step
}

// ready is a snapshot that a destination can copy from, and the steps that have to succeed before.
type ready struct {
	ref   Ref
	key   string // what it is encrypted with; "" when it is not
	needs []ID
}

// steps are the acts that hand every destination its copy: stage and share each supply, copy, register and verify at each
// destination, then take back what no copy needs any more.
func steps(req Request, facts Facts, destinations []Destination, supplies []*supply) []Step {
	b := &builder{req: req, facts: facts}
	offers := map[*supply]map[string]ready{}
	for _, s := range supplies {
		offers[s] = b.offer(s)
	}
	copies := map[Place]map[string]ID{}
	for _, d := range destinations {
		s := supplyOf(supplies, d)
		copies[d.At] = b.copies(d, s, offers[s])
	}
	for _, d := range destinations {
		b.register(d, copies[d.At])
	}
	for _, s := range supplies {
		b.takeBack(s, offers[s], copies)
	}
	return b.steps
}

func (b *builder) add(s Step) ID {
	b.steps = append(b.steps, s)
	return s.Base().Step
}

// tags are our own for a thing made of a Region's image.
func (b *builder) tags(from, device string, at Place, keyARN string) map[string]string {
	return mark(b.req, b.facts, from, device, at, keyARN).Tags(b.facts.Images[from].SealKey)
}

// mark says where a thing made of a Region's image comes from and belongs.
func mark(req Request, facts Facts, from, device string, at Place, keyARN string) origin.Mark {
	return origin.Mark{Account: facts.Source.Account, Region: from, ImageID: imageID(req, from), Device: device,
		Run: req.Build.RunID, Place: at.Account + "/" + at.Region, KeyARN: keyARN}
}

// imageID is the source image of a Region.
func imageID(req Request, region string) string {
	i := slices.IndexFunc(req.Images, func(i SourceImage) bool { return i.Region == region })
	return req.Images[i].ImageID
}

// offer stages and shares the snapshots of a supply, and says how each is to be had: by the id of the volume's own snapshot.
func (b *builder) offer(s *supply) map[string]ready {
	offered := map[string]ready{}
	for _, it := range s.items {
		offer := ready{ref: Ref{Known: it.id()}, key: it.key()}
		if it.staged {
			staged := b.add(&CopySnapshot{
				Head:        Head{Step: id("stage", s.at.Region, it.device()), At: s.at, Takes: copyTime(it.gib()), Lane: copyLane(s.at)},
				Source:      Ref{Known: it.id()},
				FromRegion:  s.from,
				FromKeyARN:  it.key(),
				Device:      it.device(),
				KeyARN:      s.keyARN,
				GiB:         it.gib(),
				Description: fmt.Sprintf("Staged for other accounts: %s of %s", it.device(), imageID(b.req, s.from)),
				Tags:        b.tags(s.from, it.device(), s.at, s.keyARN),
			})
			offer = ready{Ref{From: staged}, s.keyARN, []ID{staged}}
		}
		offer.needs = append(offer.needs, b.share(s, it, offer.ref)...)
		offered[it.id()] = offer
	}
	return offered
}

// share lets the accounts of a supply's consumers use a snapshot, those that may not yet.
func (b *builder) share(s *supply, it item, ref Ref) []ID {
	var shares []ID
	for i, accounts := range slices.Collect(slices.Chunk(strangers(s, it), maxShared)) {
		head := Head{Step: id("share", s.at.Region, it.device()), At: s.at, Takes: callTime}
		if i > 0 {
			head.Step += ID(fmt.Sprintf("/%d", i+1))
		}
		if ref.From != "" {
			head.Needs = []ID{ref.From}
		}
		shares = append(shares, b.add(&ShareSnapshot{Head: head, Snapshot: ref, Accounts: accounts}))
	}
	return shares
}

// strangers are the accounts that a snapshot has to be shared with, sorted.
func strangers(s *supply, it item) []string {
	var accounts []string
	for _, d := range s.consumers {
		known := d.At.Account == s.at.Account || !it.staged && slices.Contains(it.snapshot.SharedWith, d.At.Account)
		if !known && !slices.Contains(accounts, d.At.Account) {
			accounts = append(accounts, d.At.Account)
		}
	}
	slices.Sort(accounts)
	return accounts
}

// copies makes a destination's own snapshots, as soon as each is to be had: no barrier per image.
func (b *builder) copies(d Destination, s *supply, offered map[string]ready) map[string]ID {
	made := map[string]ID{}
	for _, v := range volumes(b.facts.Images[d.FromRegion]) {
		from, source := d.FromRegion, ready{ref: Ref{Known: v.id()}, key: v.key()}
		if s != nil {
			from, source = s.at.Region, offered[v.id()]
		}
		made[v.id()] = b.add(&CopySnapshot{
			Head:        Head{Step: id("copy", d.At.Account, d.At.Region, v.device()), At: d.At, For: d.At, Needs: source.needs, Takes: copyTime(v.gib()), Lane: copyLane(d.At)},
			Source:      source.ref,
			FromRegion:  from,
			FromKeyARN:  source.key,
			Device:      v.device(),
			KeyARN:      destinationKeyARN(d, b.facts),
			GiB:         v.gib(),
			Description: fmt.Sprintf("%s of %s", v.device(), d.Name),
			Tags:        joined(d.SnapshotTags, b.tags(d.FromRegion, v.device(), d.At, destinationKeyARN(d, b.facts))),
		})
	}
	return made
}

// register makes the destination's image from its copies, and has it verified.
func (b *builder) register(d Destination, copies map[string]ID) {
	image := b.facts.Images[d.FromRegion]
	r := &RegisterImage{
		Head:        Head{Step: id("register", d.At.Account, d.At.Region), At: d.At, For: d.At, Needs: slices.Sorted(maps.Values(copies)), Takes: callTime},
		Name:        d.Name,
		Description: d.Description,
		Source:      *image.Image,
		UEFIData:    image.UEFIData,
		Snapshots:   map[string]Ref{},
		Tags:        joined(d.Tags, b.tags(d.FromRegion, "", d.At, "")),
	}
	wanted := map[string]Wanted{}
	for _, v := range volumes(image) {
		for _, device := range v.devices {
			r.Snapshots[device] = Ref{From: copies[v.id()]}
			wanted[device] = Wanted{Snapshot: Ref{From: copies[v.id()]}, KeyARN: destinationKeyARN(d, b.facts), GiB: v.gib()}
		}
	}
	registered := b.add(r)
	b.add(&VerifyImage{
		Head:      Head{Step: id("verify", d.At.Account, d.At.Region), At: d.At, For: d.At, Needs: append(slices.Clone(r.Needs), registered), Takes: callTime},
		Image:     Ref{From: registered},
		Register:  r,
		Snapshots: wanted,
	})
}

// takeBack withdraws the permissions that this plan gave, in every outcome, and deletes the staged snapshots that every copy
// was made of: after a failure they stay for the next run.
func (b *builder) takeBack(s *supply, offered map[string]ready, copies map[Place]map[string]ID) {
	for _, it := range s.items {
		source := offered[it.id()]
		var used []ID
		for _, d := range s.consumers {
			used = append(used, copies[d.At][it.id()])
		}
		var withdrawn []ID
		for i, accounts := range slices.Collect(slices.Chunk(strangers(s, it), maxShared)) {
			head := Head{Step: id("withdraw", s.at.Region, it.device()), At: s.at, After: used, Takes: callTime}
			if i > 0 {
				head.Step += ID(fmt.Sprintf("/%d", i+1))
			}
			if source.ref.From != "" {
				head.Needs = []ID{source.ref.From}
			}
			withdrawn = append(withdrawn, b.add(&WithdrawShare{Head: head, Snapshot: source.ref, Accounts: accounts}))
		}
		if it.staged {
			b.add(&DeleteSnapshot{Head: Head{Step: id("delete", s.at.Region, it.device()), At: s.at,
				Needs: append([]ID{source.ref.From}, used...), After: withdrawn, Takes: callTime}, Snapshot: source.ref})
		}
	}
}

// id makes a step's id of its kind and its place.
func id(parts ...string) ID {
	for i, part := range parts {
		parts[i] = strings.TrimPrefix(part, "/dev/")
	}
	return ID(strings.Join(parts, "/"))
}

// copyLane is where AWS counts concurrent snapshot copies: per account and destination Region (4.1.1).
func copyLane(at Place) string { return "copy/" + at.Account + "/" + at.Region }

const callTime = time.Second // one call and its round trip, roughly

// copyTime is what a copy is expected to take. AWS promises no figure (4.6.4): it is for the order of steps and for people.
func copyTime(gib int64) time.Duration { return time.Minute + time.Duration(gib)*8*time.Second }

// estimate adds the steps up.
func estimate(steps []Step) Estimate {
	var e Estimate
	for _, s := range steps {
		if c, ok := s.(*CopySnapshot); ok {
			e.Copies++
			e.GiBStored += c.GiB
			if c.FromRegion != c.At.Region {
				e.GiBTransferred += c.GiB
			}
		}
	}
	for _, left := range Remaining(steps) {
		e.Takes = max(e.Takes, left)
	}
	return e
}
