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

	accesses []*keyGrant // temporary grants on source keys
}

// goal is a destination, and what earlier runs left of its copy.
type destinationState struct {
	Destination
	keyARN   string
	image    *ec2types.Image              // finished: nothing is left to do but to verify
	pending  *ec2types.Image              // on its way, by CopyImage
	changed  []ec2types.Image             // finished, but not what the image has to be: it makes way, or stays
	broken   []ec2types.Image             // ours, and never finished
	gone     []StepID                     // steps that deregister those
	copies   map[string]existingSnapshots // by the id of the volume's own snapshot
	ami      Ref                          // its image, finished or to be
	verified Ref                          // its image, as the step that verifies it gives it
	proofs   []StepID                     // steps that have to succeed before anything may point at the image
}

// ready is a snapshot or an image that can be copied or registered, and the steps that have to succeed before.
type snapshotRef struct {
	ref   Ref
	key   string // what it is encrypted with; "" when it is not
	needs []StepID
}

// offer is a supply, as the plan makes it: what can be copied from it, by the id of the volume's own snapshot.
type preparedSource struct {
	*shareSource
	ready map[string]snapshotRef
	given map[string][]string // accounts that the plan shares with, until they have their copies
	used  map[string][]StepID // copies that the plan makes of it

	whole    snapshotRef // the image itself; zero: nobody needs it
	admitted []string    // accounts that may copy it, until they have
	copied   []StepID    // copies that the plan makes of the image
}

// cleaning are the acts that remove what runs before this one left unfinished: copies of no image, images that are not what they have
// to be, staged snapshots, permissions. What is finished stays.
func cleaning(req Request, facts Facts, all, destinations []Destination, supplies []*shareSource) []Step {
	b := &builder{req: req, facts: facts, all: all}
	for _, d := range destinations {
		g := b.goal(d)
		if g.pending != nil {
			g.broken = append(g.broken, *g.pending)
		}
		b.deregister(&g)
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			b.deleteSnapshots(d.At, d.At, g.unused(g.copies[v.id()].all()), g.gone...)
		}
		b.deleteSnapshots(d.At, d.At, facts.orphanedSnapshots(d.At, d.mark(req, facts, origin.Whole)))
		b.endLaunches(d)
		b.deleteCanaries(d.At, d.mark(req, facts, origin.Canary), facts.Images[d.FromRegion].SealKey)
	}
	for _, s := range supplies {
		b.revokeShares(&preparedSource{shareSource: s})
	}
	b.revokeGrants()
	return b.steps
}

// steps are the acts that hand every destination its copy: stage and share what has to be copied, copy, register and verify at each
// destination, then take back what no copy needs any more.
func steps(req Request, facts Facts, all, destinations []Destination, supplies []*shareSource) []Step {
	b := &builder{req: req, facts: facts, all: all}
	b.tagReleaseLine()
	goals := make([]destinationState, len(destinations))
	for i, d := range destinations {
		goals[i] = b.goal(d)
	}
	for i := range goals {
		b.grant(&goals[i])
	}
	b.grantShared(supplies)
	offers := make([]*preparedSource, len(supplies))
	for i, s := range supplies {
		offers[i] = b.offer(s, goals)
		b.canary(offers[i], goals)
	}
	copies := make([]map[string]snapshotRef, len(goals))
	for i := range goals {
		copies[i] = b.copies(&goals[i], offers)
	}
	for i := range goals {
		b.complete(&goals[i], copies[i])
		b.launch(&goals[i])
		b.addImageSettings(&goals[i])
		b.deleteStaleResources(goals[i])
	}
	b.addPublishBarrier(goals)
	for _, g := range goals {
		b.retire(g, b.publish(g))
	}
	for _, o := range offers {
		b.revokeShares(o)
	}
	b.revokeGrants()
	return b.steps
}

func (b *builder) add(s Step) StepID {
	b.steps = append(b.steps, s)
	return s.Meta().ID
}

// goal looks what is left to do at a destination.
func (b *builder) goal(d Destination) destinationState {
	g := destinationState{Destination: d, keyARN: destinationKeyARN(d, b.facts), copies: map[string]existingSnapshots{}}
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
func (g destinationState) unused(all []existingSnapshot) []existingSnapshot {
	return slices.DeleteFunc(slices.Clone(all), func(c existingSnapshot) bool {
		return slices.ContainsFunc(g.changed, func(image ec2types.Image) bool { return builtOn(image, c.id()) })
	})
}

// wants reports whether a destination still has to copy a volume.
func (g destinationState) wants(volume string) bool {
	return g.image == nil && g.pending == nil && g.copies[volume].use == nil
}

// mark says where a destination's image, or the copy of one device, comes from and belongs.
func (d Destination) mark(req Request, facts Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: d.FromRegion, ImageID: imageID(req, d.FromRegion), Run: req.Build.RunID,
		Place: d.At.key(), Device: device}
	if device != "" {
		m.KeyARN = destinationKeyARN(d, facts)
	}
	return m
}

// mark says where a staged image, or a staged snapshot, comes from and belongs.
func (s *shareSource) mark(req Request, facts Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: s.from, ImageID: imageID(req, s.from), Run: req.Build.RunID,
		Place: s.at.key(), Device: device, Staged: s.whom}
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
func (b *builder) offer(s *shareSource, goals []destinationState) *preparedSource {
	o := &preparedSource{shareSource: s, ready: map[string]snapshotRef{}, given: map[string][]string{}, used: map[string][]StepID{}}
	consumers := slices.DeleteFunc(slices.Clone(goals), func(g destinationState) bool { return !s.serves(g.At) })
	wanting := make([][]destinationState, len(s.items))
	wanted := !s.lasting.Nobody()
	for i, it := range s.items {
		wanting[i] = slices.DeleteFunc(slices.Clone(consumers), func(g destinationState) bool { return !g.wants(it.id()) })
		wanted = wanted || len(wanting[i]) > 0
	}
	if !wanted {
		return o
	}
	if s.image(b.facts.Source.Account) {
		o.whole = snapshotRef{ref: Ref{Known: imageID(b.req, s.from)}}
	}
	if s.staged {
		o.whole = b.stageImage(s)
	}
	var lasting []StepID
	for i, it := range s.items {
		if len(wanting[i]) == 0 && s.lasting.Nobody() {
			continue
		}
		source := b.source(o, it)
		stays := b.share(o, it, source, without(s.lasting.Accounts, it.permanentAccounts()), "lasting")
		lasting = append(lasting, stays...)
		needed := accountsOf(wanting[i])
		o.given[it.id()] = without(without(needed, s.lasting.Accounts), append(it.permanentAccounts(), o.at.Account))
		shares := b.share(o, it, source, o.given[it.id()])
		if len(o.given[it.id()]) < len(without(needed, it.permanentAccounts())) {
			shares = append(shares, stays...)
		}
		source.needs = append(slices.Clone(source.needs), shares...)
		o.ready[it.id()] = source
	}
	b.shareImage(o, wanting, lasting)
	return o
}

// source is what stands for a volume in the source account: its own snapshot, a staged one, or that of the staged image.
func (b *builder) source(o *preparedSource, it sourceVolume) snapshotRef {
	own := snapshotRef{ref: Ref{Known: it.id()}, key: it.key()}
	switch {
	case !it.staged:
		return own
	case !o.staged:
		mark := o.mark(b.req, b.facts, it.device())
		return b.copy(it.volume, own, CopySnapshot{
			Base:        Base{ID: id("stage", o.at.Region, it.device()), Location: o.at},
			FromRegion:  o.from,
			KeyARN:      o.keyARN,
			Description: fmt.Sprintf("Staged for other accounts: %s of %s", it.device(), imageID(b.req, o.from)),
			Tags:        mark.Tags(b.facts.Images[o.from].SealKey),
			Mark:        mark,
			SealKey:     b.facts.Images[o.from].SealKey,
			Kept:        b.req.KeepStaged,
		}, stagedAt(b.req, b.facts, o.shareSource, it.volume).use)
	case o.whole.ref.Known != "":
		use := stagedImages(b.req, b.facts, o.shareSource).use
		return snapshotRef{ref: Ref{Known: snapshotOf(*use, it.device())}, key: o.keyARN, needs: o.whole.needs}
	}
	return snapshotRef{ref: Ref{From: o.whole.ref.From, Device: it.device()}, key: o.keyARN, needs: o.whole.needs}
}

// stageImage makes an image in the source account that can be shared, or takes over what an earlier run made or began.
func (b *builder) stageImage(s *shareSource) snapshotRef {
	found := stagedImages(b.req, b.facts, s)
	if found.use != nil {
		b.sealImage(Base{ID: id("stage", s.at.Region, origin.Whole), Location: s.at}, *found.use, b.facts.Images[s.from].SealKey)
		return snapshotRef{ref: Ref{Known: aws.ToString(found.use.ImageId)}}
	}
	return b.copyImage(s.from, found.pending, CopyImage{
		Base:         Base{ID: id("stage", s.at.Region, origin.Whole), Location: s.at},
		ImageSpec:    s.likeness(b.req, b.facts),
		Image:        Ref{Known: imageID(b.req, s.from)},
		FromRegion:   s.from,
		FromKeyARNs:  keysOf(b.facts.Images[s.from]),
		KeyARN:       s.keyARN,
		Kept:         b.req.KeepStaged,
		SnapshotTags: s.mark(b.req, b.facts, origin.Whole).Tags(b.facts.Images[s.from].SealKey),
	})
}

// copyImage adds a copy of a Region's image; one that an earlier run began is waited for.
func (b *builder) copyImage(of string, pending *ec2types.Image, step CopyImage) snapshotRef {
	var all int64 // MiB
	for _, v := range volumes(b.facts.Images[of]) {
		step.Devices = append(step.Devices, v.devices...)
		step.GiB += v.gib()
		step.ExpectedDuration = max(step.ExpectedDuration, copyTime(v, step.Minutes))
		step.Rate += rate(v.mib(), step.Minutes)
		all += v.mib()
	}
	if step.Minutes > 0 { // all together have no more than the lane
		step.ExpectedDuration = max(step.ExpectedDuration, leastTime(all, RateOfLane))
	}
	slices.Sort(step.Devices)
	step.Token = token(step, b.facts.At)
	step.Queue = imageLane(step.Location)
	if pending != nil {
		step.ResumeID, step.DependsOn, step.NotRepeatable = aws.ToString(pending.ImageId), b.sealImage(step.Base, *pending, step.SealKey), b.isCrossAccount(step.Location)
	}
	return snapshotRef{ref: Ref{From: b.add(&step)}, key: step.KeyARN, needs: []StepID{step.ID}}
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
func (b *builder) shareImage(o *preparedSource, wanting [][]destinationState, lasting []StepID) {
	if o.whole.ref == (Ref{}) {
		return
	}
	var before []string
	image := b.facts.Images[o.from]
	if !o.staged {
		before = forGood(image.SharedWith.Accounts, image.Image.Tags)
	}
	head := Base{ID: id("share", o.at.Region, origin.Whole, "lasting"), Location: o.at, DependsOn: slices.Concat(o.whole.needs, lasting), ExpectedDuration: callTime}
	var stays []StepID
	if !o.lasting.Nobody() {
		step := &ShareImage{Base: head, Image: o.whole.ref, With: o.lasting, Lasting: true}
		switch {
		case o.staged:
			step.Remember = map[string]string{origin.Stays: b.req.Build.RunID}
		case remembers(image.Image.Tags):
			step.Remember = origin.Remember(union(before, o.lasting.Accounts))
		}
		stays = append(stays, b.add(step))
	}
	var copying []destinationState
	for _, goals := range wanting {
		copying = append(copying, slices.DeleteFunc(goals, func(g destinationState) bool { return g.Method != ByImage })...)
	}
	needed := without(accountsOf(copying), append(slices.Clone(before), o.at.Account))
	o.admitted = without(needed, o.lasting.Accounts)
	shared := slices.Clone(o.whole.needs)
	if len(o.admitted) < len(needed) {
		shared = append(shared, stays...)
	}
	if len(o.admitted) > 0 {
		head.ID, head.DependsOn = id("share", o.at.Region, origin.Whole), slices.Clone(o.whole.needs)
		step := &ShareImage{Base: head, Image: o.whole.ref, With: LaunchPermissions{Accounts: o.admitted}}
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
func accountsOf(goals []destinationState) []string {
	var accounts []string
	for _, g := range goals {
		accounts = append(accounts, g.At.Account)
	}
	return union(accounts, nil)
}

// copy adds a copy of a volume, and says how it is to be had: what an earlier run completed is taken over, what it began is waited for.
func (b *builder) copy(v volume, source snapshotRef, step CopySnapshot, earlier *existingSnapshot) snapshotRef {
	if earlier != nil {
		b.seal(step.Base, *earlier, step.SealKey)
	}
	if earlier != nil && earlier.done() {
		return snapshotRef{ref: Ref{Known: earlier.id()}, key: step.KeyARN}
	}
	step.Source, step.FromKeyARN = source.ref, source.key
	step.Device, step.GiB = v.device(), v.gib()
	step.DependsOn, step.ExpectedDuration = source.needs, copyTime(v, step.Minutes)
	step.Queue, step.Rate = copyLane(step.Location), rate(v.mib(), step.Minutes)
	if earlier != nil {
		step.ResumeID, step.DependsOn, step.NotRepeatable = earlier.id(), nil, b.isCrossAccount(step.Location)
	}
	return snapshotRef{Ref{From: b.add(&step)}, step.KeyARN, []StepID{step.ID}}
}

// elsewhere reports another account than the source's: nothing is shared with it for a copy that is begun already.
func (b *builder) isCrossAccount(at Location) bool { return at.Account != b.facts.Source.Account }

// seal gives the second seal to what an earlier run made without coming to it.
func (b *builder) seal(of Base, c existingSnapshot, key origin.Key) {
	if c.proof == origin.First {
		tags := map[string]string{origin.SealedID: key.SealID(c.id(), tagMap(c.Tags)[origin.Sealed])}
		b.add(&TagResource{Base: Base{ID: "seal/" + of.ID, Location: of.Location, Destination: of.Destination, ExpectedDuration: callTime}, Resource: Ref{Known: c.id()}, Tags: tags})
	}
}

// share lets accounts use a snapshot. Who might use one of the image's own snapshots before is remembered on it first, also where that is known: the
// run that remembered it may have ended by then, and forgotten it. Who gets it for good is added to what is known: that run takes nothing back from them.
func (b *builder) share(o *preparedSource, it sourceVolume, source snapshotRef, accounts []string, kind ...string) []StepID {
	var shares []StepID
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		step := &ShareSnapshot{Base: Base{ID: id(append([]string{"share", o.at.Region, it.device()}, kind...)...), Location: o.at, DependsOn: slices.Clone(source.needs), ExpectedDuration: callTime}, Snapshot: source.ref, Device: it.device(), Accounts: chunk}
		if i == 0 && !it.staged && (len(kind) == 0 || remembers(it.snapshot.Tags)) {
			step.Remember = origin.Remember(union(it.permanentAccounts(), o.lasting.Accounts))
		}
		if i > 0 {
			step.ID += StepID(fmt.Sprintf("/%d", i+1))
			step.DependsOn = append(step.DependsOn, shares...)
		}
		shares = append(shares, b.add(step))
	}
	return shares
}

// forGood are the accounts that may use what stands for a volume for good.
func (it sourceVolume) permanentAccounts() []string {
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
func (b *builder) copies(g *destinationState, offers []*preparedSource) map[string]snapshotRef {
	made := map[string]snapshotRef{}
	i := slices.IndexFunc(offers, func(o *preparedSource) bool { return o.serves(g.At) })
	if g.image != nil {
		for _, v := range volumes(b.facts.Images[g.FromRegion]) {
			made[v.id()] = snapshotRef{ref: Ref{Known: snapshotOf(*g.image, v.device())}}
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
		from, source := g.FromRegion, snapshotRef{ref: Ref{Known: v.id()}, key: v.key()}
		var access *keyGrant
		if i >= 0 && g.wants(v.id()) {
			from, source = offers[i].at.Region, offers[i].ready[v.id()]
			if access = b.grantSourceKey(*g, offers[i].shareSource, source.key); access != nil {
				source.needs = append(slices.Clone(source.needs), access.await)
			}
		}
		made[v.id()] = b.copy(v, source, CopySnapshot{
			Base:        Base{ID: id("copy", g.At.Account, g.At.Region, v.device()), Location: g.At, Destination: g.At},
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
func (b *builder) copyWhole(g *destinationState, from *preparedSource) map[string]snapshotRef {
	step := CopyImage{
		Base:         Base{ID: id("copy", g.At.Account, g.At.Region, origin.Whole), Location: g.At, Destination: g.At, DependsOn: b.deregister(g)},
		ImageSpec:    g.likeness(b.req, b.facts),
		Image:        Ref{Known: imageID(b.req, g.FromRegion)},
		FromRegion:   g.FromRegion,
		FromKeyARNs:  keysOf(b.facts.Images[g.FromRegion]),
		KeyARN:       g.keyARN,
		Minutes:      g.CopyMinutes,
		SnapshotTags: joined(g.SnapshotTags, g.mark(b.req, b.facts, origin.Whole).Tags(b.facts.Images[g.FromRegion].SealKey)),
	}
	var accesses []*keyGrant
	if from != nil && from.whole.ref != (Ref{}) && g.pending == nil {
		step.Image, step.FromRegion, step.FromKeyARNs = from.whole.ref, from.at.Region, from.keys()
		step.DependsOn = append(step.DependsOn, from.whole.needs...)
		for _, it := range from.items {
			step.DependsOn = append(step.DependsOn, from.ready[it.id()].needs...)
		}
		for _, key := range step.FromKeyARNs {
			if access := b.grantSourceKey(*g, from.shareSource, key); access != nil {
				step.DependsOn = append(step.DependsOn, access.await)
				accesses = append(accesses, access)
			}
		}
		slices.Sort(step.DependsOn)
		step.DependsOn = slices.Compact(step.DependsOn)
	}
	step.DependsOn = append(step.DependsOn, b.deregisterNamesake(*g, step.DependsOn, nil)...)
	copied := b.copyImage(g.FromRegion, g.pending, step)
	for _, access := range accesses {
		access.users = append(access.users, copied.needs...)
	}
	made := map[string]snapshotRef{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		made[v.id()] = snapshotRef{ref: Ref{From: copied.ref.From, Device: v.device()}, key: g.keyARN, needs: copied.needs}
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
func (b *builder) complete(g *destinationState, copies map[string]snapshotRef) {
	like := g.likeness(b.req, b.facts)
	verify := &VerifyImage{
		Base:      Base{ID: id("verify", g.At.Account, g.At.Region), Location: g.At, Destination: g.At, ExpectedDuration: callTime},
		ImageSpec: like,
		Target:    g.Target,
		Snapshots: map[string]ExpectedSnapshot{},
	}
	snapshots := map[string]Ref{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		source := copies[v.id()]
		verify.DependsOn = append(verify.DependsOn, source.needs...)
		for _, device := range v.devices {
			ref := source.ref
			if ref.Device != "" {
				ref.Device = device
			}
			snapshots[device] = ref
			verify.Snapshots[device] = ExpectedSnapshot{Snapshot: ref, KeyARN: g.keyARN, GiB: v.gib()}
		}
	}
	head := Base{ID: id("register", g.At.Account, g.At.Region), Location: g.At, Destination: g.At, ExpectedDuration: callTime}
	switch {
	case g.image != nil:
		verify.Image = Ref{Known: aws.ToString(g.image.ImageId)}
		verify.DependsOn = append(verify.DependsOn, b.deregister(g)...)
		verify.DependsOn = append(verify.DependsOn, b.sealImage(head, *g.image, like.SealKey)...)
	case g.Method == ByImage:
		verify.DependsOn = slices.Compact(verify.DependsOn)
		verify.Image = Ref{From: verify.DependsOn[0]}
	default:
		head.DependsOn = append(verify.DependsOn, b.deregister(g)...)
		head.DependsOn = append(head.DependsOn, b.deregisterNamesake(*g, head.DependsOn, copies)...)
		verify.Image = Ref{From: b.add(&RegisterImage{Base: head, ImageSpec: like, Snapshots: snapshots})}
		verify.DependsOn = append(slices.Clone(head.DependsOn), head.ID)
	}
	g.verified = Ref{From: b.add(verify)}
	g.ami, g.proofs = verify.Image, append(g.proofs, g.verified.From)
}

// sealImage gives an image of an earlier run its second seal, where that run did not come to it: what waits for it learns whether it could get it.
func (b *builder) sealImage(of Base, image ec2types.Image, key origin.Key) []StepID {
	tags := tagMap(image.Tags)
	if tags[origin.SealedID] != "" {
		return nil
	}
	ref := Ref{Known: aws.ToString(image.ImageId)}
	return []StepID{b.add(&TagResource{Base: Base{ID: "seal/" + of.ID, Location: of.Location, Destination: of.Destination, ExpectedDuration: callTime}, Resource: ref,
		Tags: map[string]string{origin.SealedID: key.SealID(ref.Known, tags[origin.Sealed])}})}
}

// deregister removes images that are ours, and were never finished. One that CopyImage made, which AWS has noted in it
// (9.6), goes with its snapshots: they are of no use without it.
func (b *builder) deregister(g *destinationState) []StepID {
	for _, broken := range g.broken {
		g.gone = append(g.gone, b.add(&DeregisterImage{
			Base:          Base{ID: id("deregister", g.At.Account, g.At.Region, aws.ToString(broken.ImageId)), Location: g.At, Destination: g.At, ExpectedDuration: callTime},
			Image:         Ref{Known: aws.ToString(broken.ImageId)},
			WithSnapshots: broken.SourceImageId != nil,
		}))
	}
	return slices.Clone(g.gone)
}

// tidy removes what earlier runs left at a destination and nothing needs. That it stays is no failure of the destination.
func (b *builder) deleteStaleResources(g destinationState) {
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		surplus := g.unused(g.copies[v.id()].surplus)
		if g.image == nil && g.Method == ByImage {
			surplus = slices.DeleteFunc(surplus, b.mayBelongToConcurrentRun)
		}
		b.deleteSnapshots(g.At, Location{}, surplus, g.gone...)
	}
	b.deleteSnapshots(g.At, Location{}, b.facts.orphanedSnapshots(g.At, g.mark(b.req, b.facts, origin.Whole)))
	b.endLaunches(g.Destination)
	b.deleteCanaries(g.At, g.mark(b.req, b.facts, origin.Canary), b.facts.Images[g.FromRegion].SealKey)
}

// anothers reports a copy with which another run may be making the image by another method.
func (b *builder) mayBelongToConcurrentRun(c existingSnapshot) bool {
	return !c.failed() && tagMap(c.Tags)[origin.Run] != b.req.Build.RunID && b.facts.At.Sub(aws.ToTime(c.StartTime)) < outlived
}

// drop deletes snapshots that are provably ours and of no use.
func (b *builder) deleteSnapshots(at, destination Location, surplus []existingSnapshot, after ...StepID) {
	for _, c := range surplus {
		b.add(&DeleteSnapshot{Base: Base{ID: id("delete", at.Account, at.Region, c.id()), Location: at, Destination: destination, DependsOn: after, ExpectedDuration: callTime}, Snapshot: Ref{Known: c.id()}})
	}
}

// takeBack withdraws, in every outcome, the permissions that this plan and runs before it gave until copies were made, and removes what is
// staged once every copy of it has succeeded: after a failure it stays for the next run, and what share blocks name stays for good.
func (b *builder) revokeShares(o *preparedSource) {
	b.deleteCanaries(o.at, o.mark(b.req, b.facts, origin.Canary), b.facts.Images[o.from].SealKey)
	var withdrawn []StepID
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
		_, old := stagedForOthers(b.req, b.facts, o.shareSource, it.volume)
		b.deleteSnapshots(o.at, Location{}, old)
		left := stagedAt(b.req, b.facts, o.shareSource, it.volume)
		if o.staged || source.ref == (Ref{}) { // nobody has to copy it any more, once the copies that earlier runs began are there
			for _, c := range left.all() {
				back := b.revokeEarlierShares(o, it.device(), c.id(), used)
				b.add(&DeleteSnapshot{Base: closing(id("delete", o.at.Account, o.at.Region, c.id()), o.at, Ref{}, used, back), Snapshot: Ref{Known: c.id()}})
			}
			continue
		}
		b.add(&DeleteSnapshot{Base: closing(id("delete", o.at.Region, it.device()), o.at, source.ref, used, gone), Snapshot: source.ref, Device: it.device()})
		b.deleteSnapshots(o.at, Location{}, left.surplus)
	}
	withdrawn = append(withdrawn, b.revokeImageShare(o)...)
	b.unstage(o, withdrawn)
}

// reclaim takes back what an earlier run may have given of a snapshot that it staged for these destinations: that stays where a copy of it fails.
func (b *builder) revokeEarlierShares(o *preparedSource, device, snapshot string, used []StepID) []StepID {
	if b.req.KeepShares {
		return nil
	}
	return b.withdrawEach(UnshareSnapshot{Base: Base{ID: id("withdraw", o.at.Account, o.at.Region, snapshot), Location: o.at, ExpectedDuration: callTime}, Snapshot: Ref{Known: snapshot}, Device: device},
		slices.Collect(slices.Chunk(b.served(o), maxShared)), used)
}

// withdrawEach adds a step for each chunk of accounts, one after the other. The last one forgets, if any is to.
func (b *builder) withdrawEach(step UnshareSnapshot, chunks [][]string, used []StepID) (withdrawn []StepID) {
	first, forget := step.ID, step.Forget
	for i, accounts := range chunks {
		one := step
		one.RunsAfter, one.Accounts, one.Forget = slices.Concat(used, withdrawn), accounts, forget && i == len(chunks)-1
		if i > 0 {
			one.ID = first + StepID(fmt.Sprintf("/%d", i+1))
		}
		withdrawn = append(withdrawn, b.add(&one))
	}
	return withdrawn
}

// reclaimImage takes back what an earlier run may have given of an image that it staged for these destinations, and of its snapshots.
func (b *builder) reclaimImage(o *preparedSource, image ec2types.Image, used []StepID) []StepID {
	accounts, ref := b.served(o), aws.ToString(image.ImageId)
	if b.req.KeepShares || len(accounts) == 0 {
		return nil
	}
	withdrawn := []StepID{b.add(&UnshareImage{Base: Base{ID: id("withdraw", o.at.Account, o.at.Region, ref), Location: o.at, RunsAfter: slices.Clone(used), ExpectedDuration: callTime}, Image: Ref{Known: ref}, Accounts: accounts})}
	for _, it := range o.items {
		if snapshot := snapshotOf(image, it.device()); snapshot != "" {
			withdrawn = append(withdrawn, b.revokeEarlierShares(o, it.device(), snapshot, used)...)
		}
	}
	return withdrawn
}

// served are the accounts that an earlier run of the same destinations may have let use what it staged for a while.
func (b *builder) served(o *preparedSource) []string {
	return without(accountsAt(b.all), append(slices.Clone(o.lasting.Accounts), o.at.Account))
}

// closing is the head of a step that removes what was staged: once every copy has succeeded, and the permissions are taken back.
func closing(step StepID, at Location, staged Ref, used, withdrawn []StepID) Base {
	head := Base{ID: step, Location: at, DependsOn: slices.Clone(used), RunsAfter: withdrawn, ExpectedDuration: callTime}
	if staged.From != "" {
		head.DependsOn = append([]StepID{staged.From}, used...)
	}
	return head
}

// unstage removes staged images: what earlier runs left of them, and this run's when it is of no use any more.
func (b *builder) unstage(o *preparedSource, withdrawn []StepID) {
	left := stagedImages(b.req, b.facts, o.shareSource)
	stays := Ref{}
	if o.staged {
		stays = o.whole.ref
	}
	var used []StepID
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
	_, old := stagedImagesForOthers(b.req, b.facts, o.shareSource)
	for _, image := range old {
		if tagMap(image.Tags)[origin.Stays] == "" {
			b.discardImage(o.at, aws.ToString(image.ImageId), nil, withdrawn)
		}
	}
	b.deleteSnapshots(o.at, Location{}, b.facts.orphanedSnapshots(o.at, o.mark(b.req, b.facts, origin.Whole)))
	if !o.staged || stays == (Ref{}) || !o.lasting.Nobody() || b.req.KeepStaged {
		return
	}
	b.add(&DeregisterImage{Base: closing(id("deregister", o.at.Region, origin.Whole), o.at, stays, used, withdrawn), Image: stays, WithSnapshots: true})
}

// discardImage removes a staged image of an earlier run.
func (b *builder) discardImage(at Location, image string, needs, after []StepID) {
	b.add(&DeregisterImage{Base: Base{ID: id("deregister", at.Account, at.Region, image), Location: at, DependsOn: needs, RunsAfter: after, ExpectedDuration: callTime}, Image: Ref{Known: image}, WithSnapshots: true})
}

// close takes launch permissions back, and with the last of them the memory of who had one before.
func (b *builder) revokeImageShare(o *preparedSource) []StepID {
	if b.req.KeepShares {
		return nil
	}
	image, ref := b.facts.Images[o.from], o.whole.ref
	accounts, forget := slices.Clone(o.admitted), false
	if !o.staged && o.from == o.at.Region && image.Image != nil {
		given := without(image.SharedWith.Accounts, forGood(image.SharedWith.Accounts, image.Image.Tags))
		accounts = union(accounts, slices.DeleteFunc(without(given, o.lasting.Accounts), func(account string) bool { return !b.isDestination(account) }))
		ref, forget = Ref{Known: aws.ToString(image.Image.ImageId)}, (remembers(image.Image.Tags) || len(accounts) > 0) && !o.sharedPermanently(given)
	} else if o.staged && ref.Known != "" && (!o.lasting.Nobody() || b.req.KeepStaged) { // an earlier run's, which may have died before it took them back
		accounts = union(accounts, without(o.accounts(ByImage), o.lasting.Accounts))
	}
	if len(accounts) == 0 && !forget {
		return nil
	}
	step := &UnshareImage{Base: Base{ID: id("withdraw", o.at.Region, origin.Whole), Location: o.at, RunsAfter: slices.Clone(o.copied), ExpectedDuration: callTime}, Image: ref, Accounts: accounts, Forget: forget}
	if ref.From != "" {
		step.DependsOn = []StepID{ref.From}
	}
	return []StepID{b.add(step)}
}

// keepStaged takes permissions back and removes what was staged twice; one staged snapshot stays.
func (b *builder) keepStaged(o *preparedSource, it sourceVolume) {
	left := stagedAt(b.req, b.facts, o.shareSource, it.volume)
	if o.ready[it.id()].ref == (Ref{}) && left.use != nil { // a run before this one kept it, or died before it took the permissions back
		o.ready[it.id()] = snapshotRef{ref: Ref{Known: left.use.id()}}
	}
	if o.ready[it.id()].ref != (Ref{}) {
		b.withdraw(o, it, o.used[it.id()])
	}
	b.deleteSnapshots(o.at, Location{}, left.surplus)
}

// withdraw takes permissions back, and with the last of them the memory of who had one before.
func (b *builder) withdraw(o *preparedSource, it sourceVolume, used []StepID) []StepID {
	if b.req.KeepShares {
		return nil
	}
	source := o.ready[it.id()]
	if !it.staged {
		source = snapshotRef{ref: Ref{Known: it.id()}}
	}
	chunks, forget := slices.Collect(slices.Chunk(b.toWithdraw(o, it), maxShared)), !it.staged && !o.sharedPermanently(it.givenBefore())
	if len(chunks) == 0 && forget && remembers(it.snapshot.Tags) {
		chunks = [][]string{nil}
	}
	step := UnshareSnapshot{Base: Base{ID: id("withdraw", o.at.Region, it.device()), Location: o.at, ExpectedDuration: callTime}, Snapshot: source.ref, Device: it.device(), Forget: forget}
	if source.ref.From != "" {
		step.DependsOn = []StepID{source.ref.From}
	}
	return b.withdrawEach(step, chunks, used)
}

// turns reports accounts among those which share blocks name: another run let them for a while, and may want to take that back. It needs the memory, which
// tells it not to.
func (o *preparedSource) sharedPermanently(given []string) bool {
	return len(without(given, o.lasting.Accounts)) < len(given)
}

// toWithdraw are the accounts whose permission on a snapshot is ours: what this plan gives, and what an earlier run gave to one of
// the image's own snapshots, which remembers who had it before. Accounts that are no destination's here are left to the runs that serve
// them.
func (b *builder) toWithdraw(o *preparedSource, it sourceVolume) []string {
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
func id(parts ...string) StepID {
	for i, part := range parts {
		parts[i] = strings.TrimPrefix(part, "/dev/")
	}
	return StepID(strings.Join(parts, "/"))
}

const callTime = time.Second // one call and its round trip, roughly

// calls are the actions by which a step makes or changes something: those of its rights that belong to the service of its act, which
// stands first. What KMS is asked for besides, EC2 asks on its own.
func calls(s Step) []string {
	rights := s.Permissions()
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
	if s.Meta().ResumeID != "" {
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
		if s.Meta().ResumeID != "" { // it is paid already
			continue
		}
		from, at, copies, minutes, gib := "", "", 0, 0, int64(0)
		switch c := s.(type) {
		case *CopySnapshot:
			if !c.Trial { // it goes at once
				from, at, copies, minutes, gib = c.FromRegion, c.Location.Region, 1, c.Minutes, c.GiB
			}
		case *CopyImage:
			from, at, copies, minutes, gib = c.FromRegion, c.Location.Region, len(c.Devices), c.Minutes, c.GiB
		}
		e.Copies += copies
		e.GiBStored += gib
		if s.Meta().Destination == (Location{}) {
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
