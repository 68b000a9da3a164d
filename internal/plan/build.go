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

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// maxShared is how many accounts one sharing call takes (rule 2.1.6).
const maxShared = 500

// ownTags is how many tags of ours a thing gets: source, run, two seals.
const ownTags = 4

// builder puts the steps of a plan together, each after all that it waits for.
type builder struct {
	req   distribution.Request
	facts distribution.Facts
	all   []distribution.Destination // of the request, open or not
	steps []step.Step

	accesses []*keyGrant // temporary grants on source keys
}

// goal is a destination, and what earlier runs left of its copy.
type destinationState struct {
	distribution.Destination
	keyARN   string
	image    *ec2types.Image              // finished: nothing is left to do but to verify
	pending  *ec2types.Image              // on its way, by CopyImage
	changed  []ec2types.Image             // finished, but not what the image has to be: it makes way, or stays
	broken   []ec2types.Image             // ours, and never finished
	foreign  bool                         // pending is another run's that works
	gone     []distribution.StepID        // steps that deregister those
	copies   map[string]existingSnapshots // by the id of the volume's own snapshot
	ami      step.Ref                     // its image, finished or to be
	verified step.Ref                     // its image, as the step that verifies it gives it
	proofs   []distribution.StepID        // steps that have to succeed before anything may point at the image
}

// ready is a snapshot or an image that can be copied or registered, and the steps that have to succeed before.
type snapshotRef struct {
	ref   step.Ref
	key   string // what it is encrypted with; "" when it is not
	needs []distribution.StepID
}

// offer is a supply, as the plan makes it: what can be copied from it, by the id of the volume's own snapshot.
type preparedSource struct {
	*shareSource
	ready map[string]snapshotRef
	given map[string][]string              // accounts that the plan shares with, until they have their copies
	used  map[string][]distribution.StepID // copies that the plan makes of it

	whole    snapshotRef           // the image itself; zero: nobody needs it
	admitted []string              // accounts that may copy it, until they have
	copied   []distribution.StepID // copies that the plan makes of the image
}

// cleaning are the acts that remove what runs before this one left unfinished: copies of no image, images that are not what they have
// to be, staged snapshots, permissions. What is finished stays.
func cleaning(req distribution.Request, facts distribution.Facts, all, destinations []distribution.Destination, supplies []*shareSource) []step.Step {
	b := &builder{req: req, facts: facts, all: all}
	for _, d := range destinations {
		g := b.goal(d)
		if g.pending != nil && !g.foreign {
			g.broken = append(g.broken, *g.pending)
		}
		b.deregister(&g)
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			b.deleteSnapshots(d.At, d.At, g.unused(g.copies[v.id()].all()), g.gone...)
		}
		b.endLaunches(d)
		b.deleteCanaries(d.At, destinationMark(d, req, facts, origin.Canary), facts.Images[d.FromRegion].SealKey)
	}
	for _, s := range supplies {
		b.revokeShares(&preparedSource{shareSource: s})
	}
	b.revokeGrants()
	return b.steps
}

// steps are the acts that hand every destination its copy: stage and share what has to be copied, copy, register and verify at each
// destination, then take back what no copy needs any more.
func steps(req distribution.Request, facts distribution.Facts, all, destinations []distribution.Destination, supplies []*shareSource) []step.Step {
	b := &builder{req: req, facts: facts, all: all}
	b.tagImageFamily()
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

func (b *builder) add(s step.Step) distribution.StepID {
	b.steps = append(b.steps, s)
	return s.Meta().ID
}

// goal looks what is left to do at a destination.
func (b *builder) goal(d distribution.Destination) destinationState {
	g := destinationState{Destination: d, keyARN: destinationKeyARN(d, b.facts), copies: map[string]existingSnapshots{}}
	found := imageAt(b.req, b.facts, d)
	g.foreign = found.pending != nil && has(found.working, *found.pending)
	g.image, g.pending, g.broken = found.use, found.pending, found.broken
	g.changed = slices.Concat(found.changed, found.alien) // AWS would refuse to delete their snapshots
	if g.pending != nil {
		g.Method = distribution.ByImage
	}
	for _, v := range volumes(b.facts.Images[d.FromRegion]) {
		found := copiesAt(b.req, b.facts, d, v)
		switch {
		case g.image != nil:
			found = found.besides(snapshotOf(*g.image, v.device()))
		case g.Method == distribution.ByImage:
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
func destinationMark(d distribution.Destination, req distribution.Request, facts distribution.Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: d.FromRegion, ImageID: imageID(req, d.FromRegion), Run: req.RunID,
		Place: d.At.Key(), Device: device}
	if device != "" {
		m.KeyARN = destinationKeyARN(d, facts)
	}
	return m
}

// mark says where a staged image, or a staged snapshot, comes from and belongs.
func (s *shareSource) mark(req distribution.Request, facts distribution.Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: s.from, ImageID: imageID(req, s.from), Run: req.RunID,
		Place: s.at.Key(), Device: device, Staged: s.whom}
	if device != "" {
		m.KeyARN = s.keyARN
	}
	return m
}

// imageID is the source image of a Region.
func imageID(req distribution.Request, region string) string {
	i := slices.IndexFunc(req.Images, func(i distribution.SourceImage) bool { return i.Region == region })
	return req.Images[i].ImageID
}

// offer stages and shares what some destination still has to copy, and what share blocks name.
func (b *builder) offer(s *shareSource, goals []destinationState) *preparedSource {
	o := &preparedSource{shareSource: s, ready: map[string]snapshotRef{}, given: map[string][]string{}, used: map[string][]distribution.StepID{}}
	consumers := slices.DeleteFunc(slices.Clone(goals), func(g destinationState) bool { return !s.serves(g.At) })
	wanting := make([][]destinationState, len(s.items))
	wanted := !s.lasting.IsEmpty()
	for i, it := range s.items {
		wanting[i] = slices.DeleteFunc(slices.Clone(consumers), func(g destinationState) bool { return !g.wants(it.id()) })
		wanted = wanted || len(wanting[i]) > 0
	}
	if !wanted {
		return o
	}
	if s.image(b.facts.Source.Account) {
		o.whole = snapshotRef{ref: step.Ref{Known: imageID(b.req, s.from)}}
	}
	if s.staged {
		o.whole = b.stageImage(s)
	}
	var lasting []distribution.StepID
	for i, it := range s.items {
		if len(wanting[i]) == 0 && s.lasting.IsEmpty() {
			continue
		}
		source := b.source(o, it)
		stays := b.share(o, it, source, s.lasting.Accounts, "lasting")
		lasting = append(lasting, stays...)
		needed := distribution.Without(accountsOf(wanting[i]), append(it.permanentAccounts(), o.at.Account))
		o.given[it.id()] = distribution.Without(needed, s.lasting.Accounts)
		shares := b.share(o, it, source, o.given[it.id()])
		if len(o.given[it.id()]) < len(needed) {
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
	own := snapshotRef{ref: step.Ref{Known: it.id()}, key: it.key()}
	switch {
	case !it.staged:
		return own
	case !o.staged:
		mark := o.mark(b.req, b.facts, it.device())
		return b.copy(it.volume, own, step.CopySnapshot{
			Base:        step.Base{ID: step.NewID("stage", o.at.Region, it.device()), Location: o.at},
			FromRegion:  o.from,
			KeyARN:      o.keyARN,
			Description: b.facts.Images[o.from].SealKey.Description(fmt.Sprintf("Staged for other accounts: %s of %s", it.device(), imageID(b.req, o.from)), mark, "stage"),
			Tags:        mark.Tags(b.facts.Images[o.from].SealKey),
			Mark:        mark,
			SealKey:     b.facts.Images[o.from].SealKey,
		}, stagedAt(b.req, b.facts, o.shareSource, it.volume).use)
	case o.whole.ref.Known != "":
		use := stagedImages(b.req, b.facts, o.shareSource).use
		return snapshotRef{ref: step.Ref{Known: snapshotOf(*use, it.device())}, key: o.keyARN, needs: o.whole.needs}
	}
	return snapshotRef{ref: step.Ref{From: o.whole.ref.From, Device: it.device()}, key: o.keyARN, needs: o.whole.needs}
}

// stageImage makes an image in the source account that can be shared, or takes over what an earlier run made or began.
func (b *builder) stageImage(s *shareSource) snapshotRef {
	found := stagedImages(b.req, b.facts, s)
	if found.use != nil {
		return snapshotRef{ref: step.Ref{Known: aws.ToString(found.use.ImageId)}}
	}
	return b.copyImage(s.from, found.pending, step.CopyImage{
		Base:         step.Base{ID: step.NewID("stage", s.at.Region, origin.Whole), Location: s.at},
		ImageSpec:    s.imageSpec(b.req, b.facts),
		Image:        step.Ref{Known: imageID(b.req, s.from)},
		FromRegion:   s.from,
		FromKeyARNs:  keysOf(b.facts.Images[s.from]),
		KeyARN:       s.keyARN,
		SnapshotTags: s.mark(b.req, b.facts, origin.Whole).Tags(b.facts.Images[s.from].SealKey),
	})
}

// copyImage adds a copy of a Region's image; one that an earlier run began is waited for.
func (b *builder) copyImage(of string, pending *ec2types.Image, newStep step.CopyImage) snapshotRef {
	var all int64 // MiB
	for _, v := range volumes(b.facts.Images[of]) {
		newStep.Devices = append(newStep.Devices, v.devices...)
		newStep.GiB += v.gib()
		newStep.ExpectedDuration = max(newStep.ExpectedDuration, copyTime(v, newStep.Minutes))
		newStep.Rate += rate(v.mib(), newStep.Minutes)
		all += v.mib()
	}
	if newStep.Minutes > 0 { // all together have no more than the lane
		newStep.ExpectedDuration = max(newStep.ExpectedDuration, leastTime(all, step.QueueRate))
	}
	slices.Sort(newStep.Devices)
	newStep.Token = token(newStep, b.facts.At)
	newStep.Queue = step.ImageCopyQueue(newStep.Location)
	if pending != nil {
		newStep.ResumeID, newStep.DependsOn, newStep.NotRepeatable = aws.ToString(pending.ImageId), nil, b.isCrossAccount(newStep.Location)
	}
	return snapshotRef{ref: step.Ref{From: b.add(&newStep)}, key: newStep.KeyARN, needs: []distribution.StepID{newStep.ID}}
}

// keysOf are the keys that an image's snapshots are encrypted with, sorted.
func keysOf(image distribution.Image) []string {
	var keys []string
	for _, v := range volumes(image) {
		if v.key() != "" {
			keys = append(keys, v.key())
		}
	}
	return distribution.Union(keys, nil)
}

// shareImage lets those launch the shared image that copy it, and those that share blocks name, once its snapshots are shared with them.
func (b *builder) shareImage(o *preparedSource, wanting [][]destinationState, lasting []distribution.StepID) {
	if o.whole.ref == (step.Ref{}) {
		return
	}
	var permanent []string
	if image := b.facts.Images[o.from]; !o.staged {
		permanent = permanentAccounts(image.SharedWith.Accounts, image.Image.Tags, provenance.Permanent(tagMap(image.Image.Tags)))
	}
	head := step.Base{ID: step.NewID("share", o.at.Region, origin.Whole, "lasting"), Location: o.at, DependsOn: slices.Concat(o.whole.needs, lasting), ExpectedDuration: callTime}
	var stays []distribution.StepID
	if !o.lasting.IsEmpty() {
		newStep := &step.ShareImage{Base: head, Image: o.whole.ref, With: o.lasting, Lasting: true}
		if o.staged {
			newStep.Tags = map[string]string{origin.Stays: b.req.RunID}
		} else {
			newStep.Baseline = true
		}
		stays = append(stays, b.add(newStep))
	}
	var copying []destinationState
	for _, goals := range wanting {
		copying = append(copying, slices.DeleteFunc(goals, func(g destinationState) bool { return g.Method != distribution.ByImage })...)
	}
	needed := distribution.Without(accountsOf(copying), append(permanent, o.at.Account))
	o.admitted = distribution.Without(needed, o.lasting.Accounts)
	shared := slices.Clone(o.whole.needs)
	if len(o.admitted) < len(needed) {
		shared = append(shared, stays...)
	}
	if len(o.admitted) > 0 {
		head.ID, head.DependsOn = step.NewID("share", o.at.Region, origin.Whole), slices.Clone(o.whole.needs)
		shared = append(shared, b.add(&step.ShareImage{Base: head, Image: o.whole.ref, With: distribution.LaunchPermissions{Accounts: o.admitted}, Baseline: !o.staged}))
	}
	o.whole.needs = shared
}

// accountsOf are the accounts of destinations, sorted.
func accountsOf(goals []destinationState) []string {
	var accounts []string
	for _, g := range goals {
		accounts = append(accounts, g.At.Account)
	}
	return distribution.Union(accounts, nil)
}

// copy adds a copy of a volume, and says how it is to be had: what an earlier run completed is taken over, what it began is waited for.
func (b *builder) copy(v volume, source snapshotRef, newStep step.CopySnapshot, earlier *existingSnapshot) snapshotRef {
	if earlier != nil && earlier.done() {
		return snapshotRef{ref: step.Ref{Known: earlier.id()}, key: newStep.KeyARN}
	}
	newStep.Source, newStep.FromKeyARN = source.ref, source.key
	newStep.Device, newStep.GiB = v.device(), v.gib()
	newStep.DependsOn, newStep.ExpectedDuration = source.needs, copyTime(v, newStep.Minutes)
	newStep.Queue, newStep.Rate = step.SnapshotCopyQueue(newStep.Location), rate(v.mib(), newStep.Minutes)
	if earlier != nil {
		newStep.ResumeID, newStep.DependsOn, newStep.NotRepeatable = earlier.id(), nil, b.isCrossAccount(newStep.Location)
	}
	return snapshotRef{step.Ref{From: b.add(&newStep)}, newStep.KeyARN, []distribution.StepID{newStep.ID}}
}

// elsewhere reports another account than the source's: nothing is shared with it for a copy that is begun already.
func (b *builder) isCrossAccount(at distribution.Location) bool {
	return at.Account != b.facts.Source.Account
}

// share lets accounts use a snapshot. All of them are added, also those that another run has given the permission: that run may withdraw it.
func (b *builder) share(o *preparedSource, it sourceVolume, source snapshotRef, accounts []string, kind ...string) []distribution.StepID {
	var shares []distribution.StepID
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		newStep := &step.ShareSnapshot{
			Base:     step.Base{ID: step.NewID(append([]string{"share", o.at.Region, it.device()}, kind...)...), Location: o.at, DependsOn: slices.Clone(source.needs), ExpectedDuration: callTime},
			Snapshot: source.ref,
			Device:   it.device(),
			Accounts: chunk,
			Baseline: !it.staged,
		}
		if len(kind) > 0 && !it.staged {
			newStep.PermanentOn = imageID(b.req, o.from)
		}
		if i > 0 {
			newStep.ID += distribution.StepID(fmt.Sprintf("/%d", i+1))
			newStep.DependsOn = append(newStep.DependsOn, shares...)
		}
		shares = append(shares, b.add(newStep))
	}
	return shares
}

// permanentAccounts returns the accounts whose permission on what stands for a volume no run withdraws.
func (it sourceVolume) permanentAccounts() []string {
	if it.staged {
		return nil
	}
	return permanentAccounts(it.snapshot.SharedWith, it.snapshot.Tags, it.permanent)
}

// permanentAccounts returns the accounts whose access predates our runs, and those of share blocks. Without a baseline tag, all of them
// count as permanent.
func permanentAccounts(permitted []string, tags []ec2types.Tag, shared []string) []string {
	baseline, known, err := provenance.Baseline(tagMap(tags))
	if !known || err != nil {
		return slices.Clone(permitted)
	}
	return slices.DeleteFunc(slices.Clone(permitted), func(account string) bool {
		return !slices.Contains(baseline, account) && !slices.Contains(shared, account)
	})
}

// copies makes a destination's own snapshots, each as soon as it is to be had, with no barrier per image; or its image in one copy.
func (b *builder) copies(g *destinationState, offers []*preparedSource) map[string]snapshotRef {
	made := map[string]snapshotRef{}
	i := slices.IndexFunc(offers, func(o *preparedSource) bool { return o.serves(g.At) })
	if g.image != nil {
		for _, v := range volumes(b.facts.Images[g.FromRegion]) {
			made[v.id()] = snapshotRef{ref: step.Ref{Known: snapshotOf(*g.image, v.device())}}
		}
		return made
	}
	if g.Method == distribution.ByImage {
		if i < 0 {
			return b.copyWhole(g, nil)
		}
		return b.copyWhole(g, offers[i])
	}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		from, source := g.FromRegion, snapshotRef{ref: step.Ref{Known: v.id()}, key: v.key()}
		var access *keyGrant
		if i >= 0 && g.wants(v.id()) {
			from, source = offers[i].at.Region, offers[i].ready[v.id()]
			if access = b.grantSourceKey(*g, offers[i].shareSource, source.key); access != nil {
				source.needs = append(slices.Clone(source.needs), access.await)
			}
		}
		made[v.id()] = b.copy(v, source, step.CopySnapshot{
			Base:        step.Base{ID: step.NewID("copy", g.At.Account, g.At.Region, v.device()), Location: g.At, Destination: g.At},
			FromRegion:  from,
			KeyARN:      g.keyARN,
			Minutes:     g.CopyMinutes,
			Description: b.facts.Images[g.FromRegion].SealKey.Description(fmt.Sprintf("%s of %s", v.device(), g.Name), destinationMark(g.Destination, b.req, b.facts, v.device()), "copy"),
			Tags:        joined(g.SnapshotTags, destinationMark(g.Destination, b.req, b.facts, v.device()).Tags(b.facts.Images[g.FromRegion].SealKey)),
			Mark:        destinationMark(g.Destination, b.req, b.facts, v.device()),
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
	newStep := step.CopyImage{
		Base:         step.Base{ID: step.NewID("copy", g.At.Account, g.At.Region, origin.Whole), Location: g.At, Destination: g.At, DependsOn: b.deregister(g)},
		ImageSpec:    destinationImageSpec(g.Destination, b.req, b.facts),
		Image:        step.Ref{Known: imageID(b.req, g.FromRegion)},
		FromRegion:   g.FromRegion,
		FromKeyARNs:  keysOf(b.facts.Images[g.FromRegion]),
		KeyARN:       g.keyARN,
		Minutes:      g.CopyMinutes,
		SnapshotTags: joined(g.SnapshotTags, destinationMark(g.Destination, b.req, b.facts, origin.Whole).Tags(b.facts.Images[g.FromRegion].SealKey)),
	}
	var accesses []*keyGrant
	if from != nil && from.whole.ref != (step.Ref{}) && g.pending == nil {
		newStep.Image, newStep.FromRegion, newStep.FromKeyARNs = from.whole.ref, from.at.Region, from.keys()
		newStep.DependsOn = append(newStep.DependsOn, from.whole.needs...)
		for _, it := range from.items {
			newStep.DependsOn = append(newStep.DependsOn, from.ready[it.id()].needs...)
		}
		for _, key := range newStep.FromKeyARNs {
			if access := b.grantSourceKey(*g, from.shareSource, key); access != nil {
				newStep.DependsOn = append(newStep.DependsOn, access.await)
				accesses = append(accesses, access)
			}
		}
		slices.Sort(newStep.DependsOn)
		newStep.DependsOn = slices.Compact(newStep.DependsOn)
	}
	newStep.DependsOn = append(newStep.DependsOn, b.deregisterNamesake(*g, newStep.DependsOn, nil)...)
	copied := b.copyImage(g.FromRegion, g.pending, newStep)
	for _, access := range accesses {
		access.users = append(access.users, copied.needs...)
	}
	made := map[string]snapshotRef{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		made[v.id()] = snapshotRef{ref: step.Ref{From: copied.ref.From, Device: v.device()}, key: g.keyARN, needs: copied.needs}
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
	like := destinationImageSpec(g.Destination, b.req, b.facts)
	verify := &step.VerifyImage{
		Base:      step.Base{ID: step.NewID("verify", g.At.Account, g.At.Region), Location: g.At, Destination: g.At, ExpectedDuration: callTime},
		ImageSpec: like,
		Target:    g.Target,
		Snapshots: map[string]step.ExpectedSnapshot{},
	}
	snapshots := map[string]step.Ref{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		source := copies[v.id()]
		verify.DependsOn = append(verify.DependsOn, source.needs...)
		for _, device := range v.devices {
			ref := source.ref
			if ref.Device != "" {
				ref.Device = device
			}
			snapshots[device] = ref
			verify.Snapshots[device] = step.ExpectedSnapshot{Snapshot: ref, KeyARN: g.keyARN, GiB: v.gib()}
		}
	}
	head := step.Base{ID: step.NewID("register", g.At.Account, g.At.Region), Location: g.At, Destination: g.At, ExpectedDuration: callTime}
	switch {
	case g.image != nil:
		verify.Image = step.Ref{Known: aws.ToString(g.image.ImageId)}
		verify.DependsOn = append(verify.DependsOn, b.deregister(g)...)
	case g.Method == distribution.ByImage:
		verify.DependsOn = slices.Compact(verify.DependsOn)
		verify.Image = step.Ref{From: verify.DependsOn[0]}
	default:
		head.DependsOn = append(verify.DependsOn, b.deregister(g)...)
		head.DependsOn = append(head.DependsOn, b.deregisterNamesake(*g, head.DependsOn, copies)...)
		verify.Image = step.Ref{From: b.add(&step.RegisterImage{Base: head, ImageSpec: like, Snapshots: snapshots})}
		verify.DependsOn = append(slices.Clone(head.DependsOn), head.ID)
	}
	g.verified = step.Ref{From: b.add(verify)}
	g.ami, g.proofs = verify.Image, append(g.proofs, g.verified.From)
}

// deregister removes images that are ours, and were never finished. One that CopyImage made, which AWS has noted in it
// (9.6), goes with its snapshots: they are of no use without it.
func (b *builder) deregister(g *destinationState) []distribution.StepID {
	for _, broken := range g.broken {
		g.gone = append(g.gone, b.add(&step.DeregisterImage{
			Base:          step.Base{ID: step.NewID("deregister", g.At.Account, g.At.Region, aws.ToString(broken.ImageId)), Location: g.At, Destination: g.At, ExpectedDuration: callTime},
			Image:         step.Ref{Known: aws.ToString(broken.ImageId)},
			WithSnapshots: broken.SourceImageId != nil,
		}))
	}
	return slices.Clone(g.gone)
}

// tidy removes what earlier runs left at a destination and nothing needs. That it stays is no failure of the destination.
func (b *builder) deleteStaleResources(g destinationState) {
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		b.deleteSnapshots(g.At, distribution.Location{}, g.unused(g.copies[v.id()].surplus), g.gone...)
	}
	b.endLaunches(g.Destination)
	b.deleteCanaries(g.At, destinationMark(g.Destination, b.req, b.facts, origin.Canary), b.facts.Images[g.FromRegion].SealKey)
}

// drop deletes snapshots that are provably ours and of no use.
func (b *builder) deleteSnapshots(at, destination distribution.Location, surplus []existingSnapshot, after ...distribution.StepID) {
	for _, c := range surplus {
		b.add(&step.DeleteSnapshot{Base: step.Base{ID: step.NewID("delete", at.Account, at.Region, c.id()), Location: at, Destination: destination, DependsOn: after, ExpectedDuration: callTime}, Snapshot: step.Ref{Known: c.id()}})
	}
}

// revokeShares removes what is staged, and withdraws in every outcome what this plan gave of it. The shares of the image's own snapshots are
// withdrawn when the run has ended, because other runs may need them. After a failure what is staged stays for the next run.
func (b *builder) revokeShares(o *preparedSource) {
	b.deleteCanaries(o.at, o.mark(b.req, b.facts, origin.Canary), b.facts.Images[o.from].SealKey)
	var withdrawn []distribution.StepID
	for _, it := range o.items {
		if !it.staged {
			continue
		}
		source, used := o.ready[it.id()], o.used[it.id()]
		gone := b.withdraw(o, it, used)
		withdrawn = append(withdrawn, gone...)
		left := stagedAt(b.req, b.facts, o.shareSource, it.volume)
		if o.staged || source.ref == (step.Ref{}) { // none has to copy it any more, once the copies that earlier runs began are there
			for _, c := range left.all() {
				b.add(&step.DeleteSnapshot{Base: closing(step.NewID("delete", o.at.Account, o.at.Region, c.id()), o.at, step.Ref{}, nil, slices.Clone(used)), Snapshot: step.Ref{Known: c.id()}})
			}
			continue
		}
		b.add(&step.DeleteSnapshot{Base: closing(step.NewID("delete", o.at.Region, it.device()), o.at, source.ref, used, gone), Snapshot: source.ref, Device: it.device()})
		b.deleteSnapshots(o.at, distribution.Location{}, left.surplus)
	}
	withdrawn = append(withdrawn, b.revokeImageShare(o)...)
	b.unstage(o, withdrawn)
}

// closing is the head of a step that removes what was staged: once every copy has succeeded, and the permissions are taken back.
func closing(newStep distribution.StepID, at distribution.Location, staged step.Ref, used, withdrawn []distribution.StepID) step.Base {
	head := step.Base{ID: newStep, Location: at, DependsOn: slices.Clone(used), RunsAfter: withdrawn, ExpectedDuration: callTime}
	if staged.From != "" {
		head.DependsOn = append([]distribution.StepID{staged.From}, used...)
	}
	return head
}

// unstage removes staged images: what earlier runs left of them, and this run's when no copy needs it any more.
func (b *builder) unstage(o *preparedSource, withdrawn []distribution.StepID) {
	left := stagedImages(b.req, b.facts, o.shareSource)
	stays := step.Ref{}
	if o.staged {
		stays = o.whole.ref
	}
	var used []distribution.StepID
	for _, it := range o.items {
		used = append(used, o.used[it.id()]...)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for _, image := range left.all() {
		gone := aws.ToString(image.ImageId)
		resumed := stays.From != "" && left.pending != nil && gone == aws.ToString(left.pending.ImageId)
		if tagMap(image.Tags)[origin.Stays] == "" && gone != stays.Known && !resumed {
			b.add(&step.DeregisterImage{Base: step.Base{ID: step.NewID("deregister", o.at.Account, o.at.Region, gone), Location: o.at, RunsAfter: slices.Concat(used, withdrawn), ExpectedDuration: callTime}, Image: step.Ref{Known: gone}, WithSnapshots: true})
		}
	}
	if !o.staged || stays == (step.Ref{}) || !o.lasting.IsEmpty() {
		return
	}
	b.add(&step.DeregisterImage{Base: closing(step.NewID("deregister", o.at.Region, origin.Whole), o.at, stays, used, withdrawn), Image: stays, WithSnapshots: true})
}

// revokeImageShare withdraws the launch permissions of a staged image.
func (b *builder) revokeImageShare(o *preparedSource) []distribution.StepID {
	accounts := slices.Clone(o.admitted)
	if o.staged && o.whole.ref.Known != "" { // an earlier run's, which may have died before it withdrew them
		accounts = distribution.Union(accounts, distribution.Without(o.accounts(distribution.ByImage), o.lasting.Accounts))
	}
	if !o.staged || len(accounts) == 0 {
		return nil
	}
	newStep := &step.UnshareImage{Base: step.Base{ID: step.NewID("withdraw", o.at.Region, origin.Whole), Location: o.at, RunsAfter: slices.Clone(o.copied), ExpectedDuration: callTime}, Image: o.whole.ref, Accounts: accounts}
	if o.whole.ref.From != "" {
		newStep.DependsOn = []distribution.StepID{o.whole.ref.From}
	}
	return []distribution.StepID{b.add(newStep)}
}

// withdraw withdraws what this plan gave of a staged snapshot.
func (b *builder) withdraw(o *preparedSource, it sourceVolume, used []distribution.StepID) (withdrawn []distribution.StepID) {
	source, accounts := o.ready[it.id()], slices.Clone(o.given[it.id()])
	if o.staged && o.whole.ref.Known != "" { // an earlier run's, which may have died before it withdrew them
		accounts = distribution.Union(accounts, distribution.Without(o.accounts(distribution.ByImage), o.lasting.Accounts))
	}
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		newStep := &step.UnshareSnapshot{Base: step.Base{ID: step.NewID("withdraw", o.at.Region, it.device()), Location: o.at, RunsAfter: slices.Concat(used, withdrawn), ExpectedDuration: callTime}, Snapshot: source.ref, Device: it.device(), Accounts: chunk}
		if source.ref.From != "" {
			newStep.DependsOn = []distribution.StepID{source.ref.From}
		}
		if i > 0 {
			newStep.ID += distribution.StepID(fmt.Sprintf("/%d", i+1))
		}
		withdrawn = append(withdrawn, b.add(newStep))
	}
	return withdrawn
}

const callTime = time.Second // one call and its round trip, roughly

// calls are the actions by which a step makes or changes something: those of its rights that belong to the service of its act, which
// stands first. What KMS is asked for besides, EC2 asks on its own.
func calls(s step.Step) []string {
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
func estimate(steps []step.Step) Estimate {
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
		case *step.CopySnapshot:
			if !c.Trial { // it goes at once
				from, at, copies, minutes, gib = c.FromRegion, c.Location.Region, 1, c.Minutes, c.GiB
			}
		case *step.CopyImage:
			from, at, copies, minutes, gib = c.FromRegion, c.Location.Region, len(c.Devices), c.Minutes, c.GiB
		}
		e.Copies += copies
		e.GiBStored += gib
		if s.Meta().Destination == (distribution.Location{}) {
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
