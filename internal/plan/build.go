// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

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
	all   []Destination // of the request, open or not
	steps []Step

	accesses []*access // temporary grants on source keys
}

// goal is a destination, and what earlier runs left of its copy.
type goal struct {
	Destination
	keyARN   string
	image    *ec2types.Image      // finished: nothing is left to do but to verify
	pending  *ec2types.Image      // on its way, by CopyImage
	changed  []ec2types.Image     // finished, but not what the image has to be: it makes way, or stays
	broken   []ec2types.Image     // ours, and never finished
	gone     []ID                 // steps that deregister those
	copies   map[string]leftovers // by the id of the volume's own snapshot
	ami      Ref                  // its image, finished or to be
	verified Ref                  // its image, as the step that verifies it gives it
	proofs   []ID                 // steps that have to succeed before anything may point at the image
}

// ready is a snapshot or an image that can be copied or registered, and the steps that have to succeed before.
type ready struct {
	ref   Ref
	key   string // what it is encrypted with; "" when it is not
	needs []ID
}

// offer is a supply, as the plan makes it: what can be copied from it, by the id of the volume's own snapshot.
type offer struct {
	*supply
	ready map[string]ready
	given map[string][]string // accounts that the plan shares with, until they have their copies
	used  map[string][]ID     // copies that the plan makes of it

	whole    ready    // the image itself; zero: nobody needs it
	admitted []string // accounts that may copy it, until they have
	copied   []ID     // copies that the plan makes of the image
}

// cleaning are the acts that remove what runs before this one left unfinished: copies of no image, images that are not what they have
// to be, staged snapshots, permissions. What is finished stays.
func cleaning(req Request, facts Facts, all, destinations []Destination, supplies []*supply) []Step {
	b := &builder{req: req, facts: facts, all: all}
	for _, d := range destinations {
		g := b.goal(d)
		if g.pending != nil {
			g.broken = append(g.broken, *g.pending)
		}
		b.deregister(&g)
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			b.drop(d.At, d.At, g.unused(g.copies[v.id()].all()), g.gone...)
		}
		b.drop(d.At, d.At, facts.strays(d.At, d.mark(req, facts, origin.Whole)))
		b.endLaunches(d)
		b.endCanaries(d.At, d.mark(req, facts, origin.Canary), facts.Images[d.FromRegion].SealKey)
	}
	for _, s := range supplies {
		b.takeBack(&offer{supply: s})
	}
	b.dismiss()
	return b.steps
}

// steps are the acts that hand every destination its copy: stage and share what has to be copied, copy, register and verify at each
// destination, then take back what no copy needs any more.
func steps(req Request, facts Facts, all, destinations []Destination, supplies []*supply) []Step {
	b := &builder{req: req, facts: facts, all: all}
	b.enlist()
	goals := make([]goal, len(destinations))
	for i, d := range destinations {
		goals[i] = b.goal(d)
	}
	for i := range goals {
		b.grant(&goals[i])
	}
	b.grantShared(supplies)
	offers := make([]*offer, len(supplies))
	for i, s := range supplies {
		offers[i] = b.offer(s, goals)
		b.canary(offers[i], goals)
	}
	copies := make([]map[string]ready, len(goals))
	for i := range goals {
		copies[i] = b.copies(&goals[i], offers)
	}
	for i := range goals {
		b.complete(&goals[i], copies[i])
		b.launch(&goals[i])
		b.settle(&goals[i])
		b.tidy(goals[i])
	}
	b.hold(goals)
	for _, g := range goals {
		b.retire(g, b.publish(g))
	}
	for _, o := range offers {
		b.takeBack(o)
	}
	b.dismiss()
	return b.steps
}

func (b *builder) add(s Step) ID {
	b.steps = append(b.steps, s)
	return s.Base().Step
}

// goal looks what is left to do at a destination.
func (b *builder) goal(d Destination) goal {
	g := goal{Destination: d, keyARN: destinationKeyARN(d, b.facts), copies: map[string]leftovers{}}
	found := imageAt(b.req, b.facts, d)
	g.image, g.pending, g.changed, g.broken = found.use, found.pending, found.changed, found.broken
	if g.pending != nil {
		g.Method = ByImage
	}
	for _, v := range volumes(b.facts.Images[d.FromRegion]) {
		found := copiesAt(b.req, b.facts, d, v)
		switch {
		case g.image != nil:
			found = found.besides(snapshotOf(*g.image, v.device()))
		case g.Method == ByImage:
			found = found.besides("")
		}
		g.copies[v.id()] = found
	}
	return g
}

// unused are snapshots that no finished image is built on.
func (g goal) unused(all []candidate) []candidate {
	return slices.DeleteFunc(slices.Clone(all), func(c candidate) bool {
		return slices.ContainsFunc(g.changed, func(image ec2types.Image) bool { return builtOn(image, c.id()) })
	})
}

// wants reports whether a destination still has to copy a volume.
func (g goal) wants(volume string) bool {
	return g.image == nil && g.pending == nil && g.copies[volume].use == nil
}

// mark says where a destination's image, or the copy of one device, comes from and belongs.
func (d Destination) mark(req Request, facts Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: d.FromRegion, ImageID: imageID(req, d.FromRegion), Run: req.Build.RunID,
		Place: d.At.id(), Device: device}
	if device != "" {
		m.KeyARN = destinationKeyARN(d, facts)
	}
	return m
}

// mark says where a staged image, or a staged snapshot, comes from and belongs.
func (s *supply) mark(req Request, facts Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: s.from, ImageID: imageID(req, s.from), Run: req.Build.RunID,
		Place: s.at.id(), Device: device, Staged: s.whom}
	if device != "" {
		m.KeyARN = s.keyARN
	}
	return m
}

// imageID is the source image of a Region.
func imageID(req Request, region string) string {
	i := slices.IndexFunc(req.Images, func(i SourceImage) bool { return i.Region == region })
	return req.Images[i].ImageID
}

// offer stages and shares what some destination still has to copy, and what share blocks name.
func (b *builder) offer(s *supply, goals []goal) *offer {
	o := &offer{supply: s, ready: map[string]ready{}, given: map[string][]string{}, used: map[string][]ID{}}
	consumers := slices.DeleteFunc(slices.Clone(goals), func(g goal) bool { return !s.serves(g.At) })
	wanting := make([][]goal, len(s.items))
	wanted := !s.lasting.Nobody()
	for i, it := range s.items {
		wanting[i] = slices.DeleteFunc(slices.Clone(consumers), func(g goal) bool { return !g.wants(it.id()) })
		wanted = wanted || len(wanting[i]) > 0
	}
	if !wanted {
		return o
	}
	if s.image(b.facts.Source.Account) {
		o.whole = ready{ref: Ref{Known: imageID(b.req, s.from)}}
	}
	if s.staged {
		o.whole = b.stageImage(s)
	}
	var lasting []ID
	for i, it := range s.items {
		if len(wanting[i]) == 0 && s.lasting.Nobody() {
			continue
		}
		source := b.source(o, it)
		stays := b.share(o, it, source, without(s.lasting.Accounts, it.forGood()), "lasting")
		lasting = append(lasting, stays...)
		needed := accountsOf(wanting[i])
		o.given[it.id()] = without(without(needed, s.lasting.Accounts), append(it.forGood(), o.at.Account))
		shares := b.share(o, it, source, o.given[it.id()])
		if len(o.given[it.id()]) < len(without(needed, it.forGood())) {
			shares = append(shares, stays...)
		}
		source.needs = append(slices.Clone(source.needs), shares...)
		o.ready[it.id()] = source
	}
	b.open(o, wanting, lasting)
	return o
}

// source is what stands for a volume in the source account: its own snapshot, a staged one, or that of the staged image.
func (b *builder) source(o *offer, it item) ready {
	own := ready{ref: Ref{Known: it.id()}, key: it.key()}
	switch {
	case !it.staged:
		return own
	case !o.staged:
		mark := o.mark(b.req, b.facts, it.device())
		return b.copy(it.volume, own, CopySnapshot{
			Head:        Head{Step: id("stage", o.at.Region, it.device()), At: o.at},
			FromRegion:  o.from,
			KeyARN:      o.keyARN,
			Description: fmt.Sprintf("Staged for other accounts: %s of %s", it.device(), imageID(b.req, o.from)),
			Tags:        mark.Tags(b.facts.Images[o.from].SealKey),
			Mark:        mark,
			SealKey:     b.facts.Images[o.from].SealKey,
			Kept:        b.req.KeepStaged,
		}, stagedAt(b.req, b.facts, o.supply, it.volume).use)
	case o.whole.ref.Known != "":
		use := stagedImages(b.req, b.facts, o.supply).use
		return ready{ref: Ref{Known: snapshotOf(*use, it.device())}, key: o.keyARN, needs: o.whole.needs}
	}
	return ready{ref: Ref{From: o.whole.ref.From, Device: it.device()}, key: o.keyARN, needs: o.whole.needs}
}

// stageImage makes an image in the source account that can be shared, or takes over what an earlier run made or began.
func (b *builder) stageImage(s *supply) ready {
	found := stagedImages(b.req, b.facts, s)
	if found.use != nil {
		b.sealImage(Head{Step: id("stage", s.at.Region, origin.Whole), At: s.at}, *found.use, b.facts.Images[s.from].SealKey)
		return ready{ref: Ref{Known: aws.ToString(found.use.ImageId)}}
	}
	return b.copyImage(s.from, found.pending, CopyImage{
		Head:         Head{Step: id("stage", s.at.Region, origin.Whole), At: s.at},
		Likeness:     s.likeness(b.req, b.facts),
		Image:        Ref{Known: imageID(b.req, s.from)},
		FromRegion:   s.from,
		FromKeyARNs:  keysOf(b.facts.Images[s.from]),
		KeyARN:       s.keyARN,
		Kept:         b.req.KeepStaged,
		SnapshotTags: s.mark(b.req, b.facts, origin.Whole).Tags(b.facts.Images[s.from].SealKey),
	})
}

// copyImage adds a copy of a Region's image; one that an earlier run began is waited for.
func (b *builder) copyImage(of string, pending *ec2types.Image, step CopyImage) ready {
	var all int64 // MiB
	for _, v := range volumes(b.facts.Images[of]) {
		step.Devices = append(step.Devices, v.devices...)
		step.GiB += v.gib()
		step.Takes = max(step.Takes, copyTime(v, step.Minutes))
		step.Rate += rate(v.mib(), step.Minutes)
		all += v.mib()
	}
	if step.Minutes > 0 { // all together have no more than the lane
		step.Takes = max(step.Takes, leastTime(all, RateOfLane))
	}
	slices.Sort(step.Devices)
	step.Token = token(step, b.facts.At)
	step.Lane = imageLane(step.At)
	if pending != nil {
		step.Found, step.Needs, step.Last = aws.ToString(pending.ImageId), b.sealImage(step.Head, *pending, step.SealKey), b.elsewhere(step.At)
	}
	return ready{ref: Ref{From: b.add(&step)}, key: step.KeyARN, needs: []ID{step.Step}}
}

// keysOf are the keys that an image's snapshots are encrypted with, sorted.
func keysOf(image Image) []string {
	var keys []string
	for _, v := range volumes(image) {
		if v.key() != "" {
			keys = append(keys, v.key())
		}
	}
	return union(keys, nil)
}

// open lets those launch the shared image that copy it, and those that share blocks name, once its snapshots are shared with them. Who
// might launch the artifact's own image before is remembered on it first.
func (b *builder) open(o *offer, wanting [][]goal, lasting []ID) {
	if o.whole.ref == (Ref{}) {
		return
	}
	var before []string
	image := b.facts.Images[o.from]
	if !o.staged {
		before = forGood(image.SharedWith.Accounts, image.Image.Tags)
	}
	head := Head{Step: id("share", o.at.Region, origin.Whole, "lasting"), At: o.at, Needs: slices.Concat(o.whole.needs, lasting), Takes: callTime}
	var stays []ID
	if !o.lasting.Nobody() {
		step := &ShareImage{Head: head, Image: o.whole.ref, With: o.lasting, Lasting: true}
		switch {
		case o.staged:
			step.Remember = map[string]string{origin.Stays: b.req.Build.RunID}
		case remembers(image.Image.Tags):
			step.Remember = origin.Remember(union(before, o.lasting.Accounts))
		}
		stays = append(stays, b.add(step))
	}
	var copying []goal
	for _, goals := range wanting {
		copying = append(copying, slices.DeleteFunc(goals, func(g goal) bool { return g.Method != ByImage })...)
	}
	needed := without(accountsOf(copying), append(slices.Clone(before), o.at.Account))
	o.admitted = without(needed, o.lasting.Accounts)
	shared := slices.Clone(o.whole.needs)
	if len(o.admitted) < len(needed) {
		shared = append(shared, stays...)
	}
	if len(o.admitted) > 0 {
		head.Step, head.Needs = id("share", o.at.Region, origin.Whole), slices.Clone(o.whole.needs)
		step := &ShareImage{Head: head, Image: o.whole.ref, With: Audience{Accounts: o.admitted}}
		if !o.staged {
			step.Remember = origin.Remember(union(before, o.lasting.Accounts))
		}
		shared = append(shared, b.add(step))
	}
	o.whole.needs = shared
}

// accountsAt are the accounts of destinations, sorted.
func accountsAt(destinations []Destination) []string {
	var accounts []string
	for _, d := range destinations {
		accounts = append(accounts, d.At.Account)
	}
	return union(accounts, nil)
}

// isDestination reports whether an account is one of the request's, open or not. Others are left to the runs that serve them.
func (b *builder) isDestination(account string) bool {
	return slices.ContainsFunc(b.all, func(d Destination) bool { return d.At.Account == account })
}

// accountsOf are the accounts of destinations, sorted.
func accountsOf(goals []goal) []string {
	var accounts []string
	for _, g := range goals {
		accounts = append(accounts, g.At.Account)
	}
	return union(accounts, nil)
}

// copy adds a copy of a volume, and says how it is to be had: what an earlier run completed is taken over, what it began is waited for.
func (b *builder) copy(v volume, source ready, step CopySnapshot, earlier *candidate) ready {
	if earlier != nil {
		b.seal(step.Head, *earlier, step.SealKey)
	}
	if earlier != nil && earlier.done() {
		return ready{ref: Ref{Known: earlier.id()}, key: step.KeyARN}
	}
	step.Source, step.FromKeyARN = source.ref, source.key
	step.Device, step.GiB = v.device(), v.gib()
	step.Needs, step.Takes = source.needs, copyTime(v, step.Minutes)
	step.Lane, step.Rate = copyLane(step.At), rate(v.mib(), step.Minutes)
	if earlier != nil {
		step.Found, step.Needs, step.Last = earlier.id(), nil, b.elsewhere(step.At)
	}
	return ready{Ref{From: b.add(&step)}, step.KeyARN, []ID{step.Step}}
}

// elsewhere reports another account than the source's: nothing is shared with it for a copy that is begun already.
func (b *builder) elsewhere(at Place) bool { return at.Account != b.facts.Source.Account }

// seal gives the second seal to what an earlier run made without coming to it.
func (b *builder) seal(of Head, c candidate, key origin.Key) {
	if c.proof == origin.First {
		tags := map[string]string{origin.SealedID: key.SealID(c.id(), tagMap(c.Tags)[origin.Sealed])}
		b.add(&TagResource{Head: Head{Step: "seal/" + of.Step, At: of.At, For: of.For, Takes: callTime}, Resource: Ref{Known: c.id()}, Tags: tags})
	}
}

// share lets accounts use a snapshot. Who might use one of the image's own snapshots before is remembered on it first, also where that is known: the
// run that remembered it may have ended by then, and forgotten it. Who gets it for good is added to what is known: that run takes nothing back from them.
func (b *builder) share(o *offer, it item, source ready, accounts []string, kind ...string) []ID {
	var shares []ID
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		step := &ShareSnapshot{Head: Head{Step: id(append([]string{"share", o.at.Region, it.device()}, kind...)...), At: o.at, Needs: slices.Clone(source.needs), Takes: callTime}, Snapshot: source.ref, Device: it.device(), Accounts: chunk}
		if i == 0 && !it.staged && (len(kind) == 0 || remembers(it.snapshot.Tags)) {
			step.Remember = origin.Remember(union(it.forGood(), o.lasting.Accounts))
		}
		if i > 0 {
			step.Step += ID(fmt.Sprintf("/%d", i+1))
			step.Needs = append(step.Needs, shares...)
		}
		shares = append(shares, b.add(step))
	}
	return shares
}

// forGood are the accounts that may use what stands for a volume for good.
func (it item) forGood() []string {
	if it.staged {
		return nil
	}
	return forGood(it.snapshot.SharedWith, it.snapshot.Tags)
}

// forGood are those of the accounts that may use a thing which have that for good: all, but where its tags remember who had it before a run gave it to
// others for a while.
func forGood(accounts []string, tags []ec2types.Tag) []string {
	before, known := origin.Remembered(tagMap(tags))
	return slices.DeleteFunc(slices.Clone(accounts), func(account string) bool { return known && !slices.Contains(before, account) })
}

// remembers reports tags that say who might use a thing before runs gave it to others.
func remembers(tags []ec2types.Tag) bool {
	_, known := origin.Remembered(tagMap(tags))
	return known
}

// copies makes a destination's own snapshots, each as soon as it is to be had, with no barrier per image; or its image in one copy.
func (b *builder) copies(g *goal, offers []*offer) map[string]ready {
	made := map[string]ready{}
	i := slices.IndexFunc(offers, func(o *offer) bool { return o.serves(g.At) })
	if g.image != nil {
		for _, v := range volumes(b.facts.Images[g.FromRegion]) {
			made[v.id()] = ready{ref: Ref{Known: snapshotOf(*g.image, v.device())}}
		}
		return made
	}
	if g.Method == ByImage {
		if i < 0 {
			return b.copyWhole(g, nil)
		}
		return b.copyWhole(g, offers[i])
	}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		from, source := g.FromRegion, ready{ref: Ref{Known: v.id()}, key: v.key()}
		var access *access
		if i >= 0 && g.wants(v.id()) {
			from, source = offers[i].at.Region, offers[i].ready[v.id()]
			if access = b.admit(*g, offers[i].supply, source.key); access != nil {
				source.needs = append(slices.Clone(source.needs), access.await)
			}
		}
		made[v.id()] = b.copy(v, source, CopySnapshot{
			Head:        Head{Step: id("copy", g.At.Account, g.At.Region, v.device()), At: g.At, For: g.At},
			FromRegion:  from,
			KeyARN:      g.keyARN,
			Minutes:     g.CopyMinutes,
			Description: fmt.Sprintf("%s of %s", v.device(), g.Name),
			Tags:        joined(g.SnapshotTags, g.mark(b.req, b.facts, v.device()).Tags(b.facts.Images[g.FromRegion].SealKey)),
			Mark:        g.mark(b.req, b.facts, v.device()),
			SealKey:     b.facts.Images[g.FromRegion].SealKey,
		}, g.copies[v.id()].use)
		if access != nil {
			access.users = append(access.users, made[v.id()].needs...)
		}
		if i >= 0 {
			offers[i].used[v.id()] = append(offers[i].used[v.id()], made[v.id()].needs...)
		}
	}
	return made
}

// copyWhole copies a destination's image in one call, from the source account's offer or, as its owner, from the artifact's image.
func (b *builder) copyWhole(g *goal, from *offer) map[string]ready {
	step := CopyImage{
		Head:         Head{Step: id("copy", g.At.Account, g.At.Region, origin.Whole), At: g.At, For: g.At, Needs: b.deregister(g)},
		Likeness:     g.likeness(b.req, b.facts),
		Image:        Ref{Known: imageID(b.req, g.FromRegion)},
		FromRegion:   g.FromRegion,
		FromKeyARNs:  keysOf(b.facts.Images[g.FromRegion]),
		KeyARN:       g.keyARN,
		Minutes:      g.CopyMinutes,
		SnapshotTags: joined(g.SnapshotTags, g.mark(b.req, b.facts, origin.Whole).Tags(b.facts.Images[g.FromRegion].SealKey)),
	}
	var accesses []*access
	if from != nil && from.whole.ref != (Ref{}) && g.pending == nil {
		step.Image, step.FromRegion, step.FromKeyARNs = from.whole.ref, from.at.Region, from.keys()
		step.Needs = append(step.Needs, from.whole.needs...)
		for _, it := range from.items {
			step.Needs = append(step.Needs, from.ready[it.id()].needs...)
		}
		for _, key := range step.FromKeyARNs {
			if access := b.admit(*g, from.supply, key); access != nil {
				step.Needs = append(step.Needs, access.await)
				accesses = append(accesses, access)
			}
		}
		slices.Sort(step.Needs)
		step.Needs = slices.Compact(step.Needs)
	}
	step.Needs = append(step.Needs, b.makeWay(*g, step.Needs, nil)...)
	copied := b.copyImage(g.FromRegion, g.pending, step)
	for _, access := range accesses {
		access.users = append(access.users, copied.needs...)
	}
	made := map[string]ready{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		made[v.id()] = ready{ref: Ref{From: copied.ref.From, Device: v.device()}, key: g.keyARN, needs: copied.needs}
		if from != nil {
			from.used[v.id()] = append(from.used[v.id()], copied.needs...)
		}
	}
	if from != nil {
		from.copied = append(from.copied, copied.needs...)
	}
	return made
}

// complete makes the destination's image from its copies, unless it is there already or a copy itself, and has it verified.
func (b *builder) complete(g *goal, copies map[string]ready) {
	like := g.likeness(b.req, b.facts)
	verify := &VerifyImage{
		Head:      Head{Step: id("verify", g.At.Account, g.At.Region), At: g.At, For: g.At, Takes: callTime},
		Likeness:  like,
		Target:    g.Target,
		Snapshots: map[string]Wanted{},
	}
	snapshots := map[string]Ref{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		source := copies[v.id()]
		verify.Needs = append(verify.Needs, source.needs...)
		for _, device := range v.devices {
			ref := source.ref
			if ref.Device != "" {
				ref.Device = device
			}
			snapshots[device] = ref
			verify.Snapshots[device] = Wanted{Snapshot: ref, KeyARN: g.keyARN, GiB: v.gib()}
		}
	}
	head := Head{Step: id("register", g.At.Account, g.At.Region), At: g.At, For: g.At, Takes: callTime}
	switch {
	case g.image != nil:
		verify.Image = Ref{Known: aws.ToString(g.image.ImageId)}
		verify.Needs = append(verify.Needs, b.deregister(g)...)
		verify.Needs = append(verify.Needs, b.sealImage(head, *g.image, like.SealKey)...)
	case g.Method == ByImage:
		verify.Needs = slices.Compact(verify.Needs)
		verify.Image = Ref{From: verify.Needs[0]}
	default:
		head.Needs = append(verify.Needs, b.deregister(g)...)
		head.Needs = append(head.Needs, b.makeWay(*g, head.Needs, copies)...)
		verify.Image = Ref{From: b.add(&RegisterImage{Head: head, Likeness: like, Snapshots: snapshots})}
		verify.Needs = append(slices.Clone(head.Needs), head.Step)
	}
	g.verified = Ref{From: b.add(verify)}
	g.ami, g.proofs = verify.Image, append(g.proofs, g.verified.From)
}

// sealImage gives an image of an earlier run its second seal, where that run did not come to it: what waits for it learns whether it could get it.
func (b *builder) sealImage(of Head, image ec2types.Image, key origin.Key) []ID {
	tags := tagMap(image.Tags)
	if tags[origin.SealedID] != "" {
		return nil
	}
	ref := Ref{Known: aws.ToString(image.ImageId)}
	return []ID{b.add(&TagResource{Head: Head{Step: "seal/" + of.Step, At: of.At, For: of.For, Takes: callTime}, Resource: ref,
		Tags: map[string]string{origin.SealedID: key.SealID(ref.Known, tags[origin.Sealed])}})}
}

// deregister removes images that are ours, and were never finished. One that CopyImage made, which AWS has noted in it
// (9.6), goes with its snapshots: they are of no use without it.
func (b *builder) deregister(g *goal) []ID {
	for _, broken := range g.broken {
		g.gone = append(g.gone, b.add(&DeregisterImage{
			Head:          Head{Step: id("deregister", g.At.Account, g.At.Region, aws.ToString(broken.ImageId)), At: g.At, For: g.At, Takes: callTime},
			Image:         Ref{Known: aws.ToString(broken.ImageId)},
			WithSnapshots: broken.SourceImageId != nil,
		}))
	}
	return slices.Clone(g.gone)
}

// tidy removes what earlier runs left at a destination and nothing needs. That it stays is no failure of the destination.
func (b *builder) tidy(g goal) {
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		surplus := g.unused(g.copies[v.id()].surplus)
		if g.image == nil && g.Method == ByImage {
			surplus = slices.DeleteFunc(surplus, b.anothers)
		}
		b.drop(g.At, Place{}, surplus, g.gone...)
	}
	b.drop(g.At, Place{}, b.facts.strays(g.At, g.mark(b.req, b.facts, origin.Whole)))
	b.endLaunches(g.Destination)
	b.endCanaries(g.At, g.mark(b.req, b.facts, origin.Canary), b.facts.Images[g.FromRegion].SealKey)
}

// anothers reports a copy with which another run may be making the image by another method.
func (b *builder) anothers(c candidate) bool {
	return !c.failed() && tagMap(c.Tags)[origin.Run] != b.req.Build.RunID && b.facts.At.Sub(aws.ToTime(c.StartTime)) < outlived
}

// drop deletes snapshots that are provably ours and of no use.
func (b *builder) drop(at, destination Place, surplus []candidate, after ...ID) {
	for _, c := range surplus {
		b.add(&DeleteSnapshot{Head: Head{Step: id("delete", at.Account, at.Region, c.id()), At: at, For: destination, Needs: after, Takes: callTime}, Snapshot: Ref{Known: c.id()}})
	}
}

// takeBack withdraws, in every outcome, the permissions that this plan and runs before it gave until copies were made, and removes what is
// staged once every copy of it has succeeded: after a failure it stays for the next run, and what share blocks name stays for good.
func (b *builder) takeBack(o *offer) {
	b.endCanaries(o.at, o.mark(b.req, b.facts, origin.Canary), b.facts.Images[o.from].SealKey)
	var withdrawn []ID
	for _, it := range o.items {
		source, used := o.ready[it.id()], o.used[it.id()]
		if it.staged && !o.staged && b.req.KeepStaged {
			b.keepStaged(o, it)
			continue
		}
		gone := b.withdraw(o, it, used)
		withdrawn = append(withdrawn, gone...)
		if !it.staged {
			continue
		}
		_, old := stagedForOthers(b.req, b.facts, o.supply, it.volume)
		b.drop(o.at, Place{}, old)
		left := stagedAt(b.req, b.facts, o.supply, it.volume)
		if o.staged || source.ref == (Ref{}) { // nobody has to copy it any more, once the copies that earlier runs began are there
			for _, c := range left.all() {
				back := b.reclaim(o, it.device(), c.id(), used)
				b.add(&DeleteSnapshot{Head: closing(id("delete", o.at.Account, o.at.Region, c.id()), o.at, Ref{}, used, back), Snapshot: Ref{Known: c.id()}})
			}
			continue
		}
		b.add(&DeleteSnapshot{Head: closing(id("delete", o.at.Region, it.device()), o.at, source.ref, used, gone), Snapshot: source.ref, Device: it.device()})
		b.drop(o.at, Place{}, left.surplus)
	}
	withdrawn = append(withdrawn, b.close(o)...)
	b.unstage(o, withdrawn)
}

// reclaim takes back what an earlier run may have given of a snapshot that it staged for these destinations: that stays where a copy of it fails.
func (b *builder) reclaim(o *offer, device, snapshot string, used []ID) []ID {
	if b.req.KeepShares {
		return nil
	}
	return b.withdrawEach(WithdrawShare{Head: Head{Step: id("withdraw", o.at.Account, o.at.Region, snapshot), At: o.at, Takes: callTime}, Snapshot: Ref{Known: snapshot}, Device: device},
		slices.Collect(slices.Chunk(b.served(o), maxShared)), used)
}

// withdrawEach adds a step for each chunk of accounts, one after the other. The last one forgets, if any is to.
func (b *builder) withdrawEach(step WithdrawShare, chunks [][]string, used []ID) (withdrawn []ID) {
	first, forget := step.Step, step.Forget
	for i, accounts := range chunks {
		one := step
		one.After, one.Accounts, one.Forget = slices.Concat(used, withdrawn), accounts, forget && i == len(chunks)-1
		if i > 0 {
			one.Step = first + ID(fmt.Sprintf("/%d", i+1))
		}
		withdrawn = append(withdrawn, b.add(&one))
	}
	return withdrawn
}

// reclaimImage takes back what an earlier run may have given of an image that it staged for these destinations, and of its snapshots.
func (b *builder) reclaimImage(o *offer, image ec2types.Image, used []ID) []ID {
	accounts, ref := b.served(o), aws.ToString(image.ImageId)
	if b.req.KeepShares || len(accounts) == 0 {
		return nil
	}
	withdrawn := []ID{b.add(&WithdrawImageShare{Head: Head{Step: id("withdraw", o.at.Account, o.at.Region, ref), At: o.at, After: slices.Clone(used), Takes: callTime}, Image: Ref{Known: ref}, Accounts: accounts})}
	for _, it := range o.items {
		if snapshot := snapshotOf(image, it.device()); snapshot != "" {
			withdrawn = append(withdrawn, b.reclaim(o, it.device(), snapshot, used)...)
		}
	}
	return withdrawn
}

// served are the accounts that an earlier run of the same destinations may have let use what it staged for a while.
func (b *builder) served(o *offer) []string {
	return without(accountsAt(b.all), append(slices.Clone(o.lasting.Accounts), o.at.Account))
}

// closing is the head of a step that removes what was staged: once every copy has succeeded, and the permissions are taken back.
func closing(step ID, at Place, staged Ref, used, withdrawn []ID) Head {
	head := Head{Step: step, At: at, Needs: slices.Clone(used), After: withdrawn, Takes: callTime}
	if staged.From != "" {
		head.Needs = append([]ID{staged.From}, used...)
	}
	return head
}

// unstage removes staged images: what earlier runs left of them, and this run's when it is of no use any more.
func (b *builder) unstage(o *offer, withdrawn []ID) {
	left := stagedImages(b.req, b.facts, o.supply)
	stays := Ref{}
	if o.staged {
		stays = o.whole.ref
	}
	var used []ID
	for _, it := range o.items {
		used = append(used, o.used[it.id()]...)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for _, image := range left.all() {
		kept := b.req.KeepStaged && left.use != nil && aws.ToString(image.ImageId) == aws.ToString(left.use.ImageId)
		if kept || tagMap(image.Tags)[origin.Stays] != "" {
			continue
		}
		if gone := aws.ToString(image.ImageId); gone != stays.Known && (stays.From == "" || left.pending == nil || gone != aws.ToString(left.pending.ImageId)) {
			b.discardImage(o.at, gone, used, append(b.reclaimImage(o, image, used), withdrawn...))
		}
	}
	_, old := stagedImagesForOthers(b.req, b.facts, o.supply)
	for _, image := range old {
		if tagMap(image.Tags)[origin.Stays] == "" {
			b.discardImage(o.at, aws.ToString(image.ImageId), nil, withdrawn)
		}
	}
	b.drop(o.at, Place{}, b.facts.strays(o.at, o.mark(b.req, b.facts, origin.Whole)))
	if !o.staged || stays == (Ref{}) || !o.lasting.Nobody() || b.req.KeepStaged {
		return
	}
	b.add(&DeregisterImage{Head: closing(id("deregister", o.at.Region, origin.Whole), o.at, stays, used, withdrawn), Image: stays, WithSnapshots: true})
}

// discardImage removes a staged image of an earlier run.
func (b *builder) discardImage(at Place, image string, needs, after []ID) {
	b.add(&DeregisterImage{Head: Head{Step: id("deregister", at.Account, at.Region, image), At: at, Needs: needs, After: after, Takes: callTime}, Image: Ref{Known: image}, WithSnapshots: true})
}

// close takes launch permissions back, and with the last of them the memory of who had one before.
func (b *builder) close(o *offer) []ID {
	if b.req.KeepShares {
		return nil
	}
	image, ref := b.facts.Images[o.from], o.whole.ref
	accounts, forget := slices.Clone(o.admitted), false
	if !o.staged && o.from == o.at.Region && image.Image != nil {
		given := without(image.SharedWith.Accounts, forGood(image.SharedWith.Accounts, image.Image.Tags))
		accounts = union(accounts, slices.DeleteFunc(without(given, o.lasting.Accounts), func(account string) bool { return !b.isDestination(account) }))
		ref, forget = Ref{Known: aws.ToString(image.Image.ImageId)}, (remembers(image.Image.Tags) || len(accounts) > 0) && !o.turns(given)
	} else if o.staged && ref.Known != "" && (!o.lasting.Nobody() || b.req.KeepStaged) { // an earlier run's, which may have died before it took them back
		accounts = union(accounts, without(o.accounts(ByImage), o.lasting.Accounts))
	}
	if len(accounts) == 0 && !forget {
		return nil
	}
	step := &WithdrawImageShare{Head: Head{Step: id("withdraw", o.at.Region, origin.Whole), At: o.at, After: slices.Clone(o.copied), Takes: callTime}, Image: ref, Accounts: accounts, Forget: forget}
	if ref.From != "" {
		step.Needs = []ID{ref.From}
	}
	return []ID{b.add(step)}
}

// keepStaged takes permissions back and removes what was staged twice; one staged snapshot stays.
func (b *builder) keepStaged(o *offer, it item) {
	left := stagedAt(b.req, b.facts, o.supply, it.volume)
	if o.ready[it.id()].ref == (Ref{}) && left.use != nil { // a run before this one kept it, or died before it took the permissions back
		o.ready[it.id()] = ready{ref: Ref{Known: left.use.id()}}
	}
	if o.ready[it.id()].ref != (Ref{}) {
		b.withdraw(o, it, o.used[it.id()])
	}
	b.drop(o.at, Place{}, left.surplus)
}

// withdraw takes permissions back, and with the last of them the memory of who had one before.
func (b *builder) withdraw(o *offer, it item, used []ID) []ID {
	if b.req.KeepShares {
		return nil
	}
	source := o.ready[it.id()]
	if !it.staged {
		source = ready{ref: Ref{Known: it.id()}}
	}
	chunks, forget := slices.Collect(slices.Chunk(b.toWithdraw(o, it), maxShared)), !it.staged && !o.turns(it.givenBefore())
	if len(chunks) == 0 && forget && remembers(it.snapshot.Tags) {
		chunks = [][]string{nil}
	}
	step := WithdrawShare{Head: Head{Step: id("withdraw", o.at.Region, it.device()), At: o.at, Takes: callTime}, Snapshot: source.ref, Device: it.device(), Forget: forget}
	if source.ref.From != "" {
		step.Needs = []ID{source.ref.From}
	}
	return b.withdrawEach(step, chunks, used)
}

// turns reports accounts among those which share blocks name: another run let them for a while, and may want to take that back. It needs the memory, which
// tells it not to.
func (o *offer) turns(given []string) bool {
	return len(without(given, o.lasting.Accounts)) < len(given)
}

// toWithdraw are the accounts whose permission on a snapshot is ours: what this plan gives, and what an earlier run gave to one of
// the image's own snapshots, which remembers who had it before. Accounts that are no destination's here are left to the runs that serve
// them.
func (b *builder) toWithdraw(o *offer, it item) []string {
	accounts := slices.Clone(o.given[it.id()])
	known := it.givenBefore()
	if it.staged { // whoever may use it has that from us
		known = slices.Clone(b.facts.Earlier[o.at].SharedWith[o.ready[it.id()].ref.Known])
	}
	if o.staged && o.whole.ref.Known != "" && (!o.lasting.Nobody() || b.req.KeepStaged) { // an earlier run's, which may have died before it took them back
		known = append(known, accountsAt(o.consumers)...)
	}
	for _, account := range without(known, append(slices.Clone(o.lasting.Accounts), o.at.Account)) {
		if b.isDestination(account) {
			accounts = append(accounts, account)
		}
	}
	return union(accounts, nil)
}

// id makes a step's id of its kind and its place.
func id(parts ...string) ID {
	for i, part := range parts {
		parts[i] = strings.TrimPrefix(part, "/dev/")
	}
	return ID(strings.Join(parts, "/"))
}

const callTime = time.Second // one call and its round trip, roughly

// calls are the actions by which a step makes or changes something: those of its rights that belong to the service of its act, which
// stands first. What KMS is asked for besides, EC2 asks on its own.
func calls(s Step) []string {
	rights := s.Rights()
	if len(rights) == 0 {
		return nil
	}
	service, _, _ := strings.Cut(rights[0].Action, ":")
	var actions []string
	for _, r := range rights {
		if name, own := strings.CutPrefix(r.Action, service+":"); own && !looking.MatchString(name) && !slices.Contains(actions, r.Action) {
			actions = append(actions, r.Action)
		}
	}
	if s.Base().Found != "" {
		return actions[1:] // the act was an earlier run's
	}
	return actions
}

var looking = regexp.MustCompile(`^(Describe|Get|List)`)

// estimate adds the steps up.
func estimate(steps []Step) Estimate {
	e := Estimate{Calls: map[string]int{}}
	for _, s := range steps {
		for _, action := range calls(s) {
			e.Calls[action]++
		}
		if s.Base().Found != "" { // it is paid already
			continue
		}
		from, at, copies, minutes, gib := "", "", 0, 0, int64(0)
		switch c := s.(type) {
		case *CopySnapshot:
			if !c.Trial { // it goes at once
				from, at, copies, minutes, gib = c.FromRegion, c.At.Region, 1, c.Minutes, c.GiB
			}
		case *CopyImage:
			from, at, copies, minutes, gib = c.FromRegion, c.At.Region, len(c.Devices), c.Minutes, c.GiB
		}
		e.Copies += copies
		e.GiBStored += gib
		if s.Base().For == (Place{}) {
			e.GiBStaged += gib
		}
		if from != at {
			e.GiBTransferred += gib
		}
		e.USDTimed += float64(gib) * usdPerGiBTimed(minutes)
	}
	e.Takes = expected(steps)
	return e
}
