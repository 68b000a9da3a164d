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
	keyARN string
	image  *ec2types.Image      // finished: nothing is left to do but to verify
	broken []ec2types.Image     // ours, but not what the image has to be
	copies map[string]leftovers // by the id of the volume's own snapshot
	ami    Ref                  // its image, finished or to be
	proofs []ID                 // steps that have to succeed before anything may point at the image; the first verifies it
}

// ready is a snapshot that can be copied or registered, and the steps that have to succeed before.
type ready struct {
	ref   Ref
	key   string // what it is encrypted with; "" when it is not
	needs []ID
}

// offer is a supply, as the plan makes it: what can be copied from it, by the id of the volume's own snapshot.
type offer struct {
	*supply
	ready map[string]ready
	given map[string][]string // accounts that the plan shares with
	used  map[string][]ID     // copies that the plan makes of it
}

// cleaning are the acts that remove what runs before this one left unfinished: copies of no image, images that are not what they have
// to be, staged snapshots, permissions. What is finished stays.
func cleaning(req Request, facts Facts, all, destinations []Destination, supplies []*supply) []Step {
	b := &builder{req: req, facts: facts, all: all}
	for _, d := range destinations {
		g := b.goal(d)
		gone := b.deregister(g)
		for _, v := range volumes(facts.Images[d.FromRegion]) {
			b.drop(d.At, d.At, g.copies[v.id()].all(), gone...)
		}
		b.endLaunches(d)
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
	goals := make([]goal, len(destinations))
	for i, d := range destinations {
		goals[i] = b.goal(d)
	}
	for i := range goals {
		b.grant(&goals[i])
	}
	offers := make([]*offer, len(supplies))
	for i, s := range supplies {
		offers[i] = b.offer(s, goals)
	}
	copies := make([]map[string]ready, len(goals))
	for i, g := range goals {
		copies[i] = b.copies(g, offers)
	}
	for i := range goals {
		b.register(&goals[i], copies[i])
		b.launch(&goals[i])
		b.tidy(goals[i])
	}
	b.hold(goals)
	for _, g := range goals {
		b.publish(g)
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
	g.image, g.broken, _ = earlierImage(b.req, b.facts, d)
	for _, v := range volumes(b.facts.Images[d.FromRegion]) {
		found := copiesAt(b.req, b.facts, d, v)
		if g.image != nil {
			found = found.besides(snapshotOf(*g.image, v.device()))
		}
		g.copies[v.id()] = found
	}
	return g
}

// wants reports whether a destination still has to copy a volume.
func (g goal) wants(volume string) bool { return g.image == nil && g.copies[volume].use == nil }

// mark says where a destination's image, or the copy of one device, comes from and belongs.
func (d Destination) mark(req Request, facts Facts, device string) origin.Mark {
	m := origin.Mark{Account: facts.Source.Account, Region: d.FromRegion, ImageID: imageID(req, d.FromRegion), Run: req.Build.RunID,
		Place: d.At.id(), Device: device}
	if device != "" {
		m.KeyARN = destinationKeyARN(d, facts)
	}
	return m
}

// mark says where a staged snapshot comes from and belongs.
func (s *supply) mark(req Request, facts Facts, device string) origin.Mark {
	return origin.Mark{Account: facts.Source.Account, Region: s.from, ImageID: imageID(req, s.from), Run: req.Build.RunID,
		Place: s.at.id(), Device: device, Staged: s.whom, KeyARN: s.keyARN}
}

// imageID is the source image of a Region.
func imageID(req Request, region string) string {
	i := slices.IndexFunc(req.Images, func(i SourceImage) bool { return i.Region == region })
	return req.Images[i].ImageID
}

// offer stages and shares the snapshots of a supply that some destination still has to copy.
func (b *builder) offer(s *supply, goals []goal) *offer {
	o := &offer{supply: s, ready: map[string]ready{}, given: map[string][]string{}, used: map[string][]ID{}}
	for _, it := range s.items {
		var wanting []goal
		for _, g := range goals {
			if g.wants(it.id()) && slices.ContainsFunc(s.consumers, func(d Destination) bool { return d.At == g.At }) {
				wanting = append(wanting, g)
			}
		}
		if len(wanting) == 0 {
			continue
		}
		source := ready{ref: Ref{Known: it.id()}, key: it.key()}
		if it.staged {
			source = b.copy(it.volume, source, CopySnapshot{
				Head:        Head{Step: id("stage", s.at.Region, it.device()), At: s.at},
				FromRegion:  s.from,
				KeyARN:      s.keyARN,
				Description: fmt.Sprintf("Staged for other accounts: %s of %s", it.device(), imageID(b.req, s.from)),
				Tags:        s.mark(b.req, b.facts, it.device()).Tags(b.facts.Images[s.from].SealKey),
				Mark:        s.mark(b.req, b.facts, it.device()),
				SealKey:     b.facts.Images[s.from].SealKey,
			}, stagedAt(b.req, b.facts, s, it.volume).use)
		}
		o.given[it.id()] = strangers(it, wanting)
		source.needs = append(source.needs, b.share(s, it, source, o.given[it.id()])...)
		o.ready[it.id()] = source
	}
	return o
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
	step.Needs, step.Takes, step.Lane = source.needs, copyTime(v.gib()), copyLane(step.At)
	if earlier != nil {
		step.Found, step.Needs = earlier.id(), nil
	}
	return ready{Ref{From: b.add(&step)}, step.KeyARN, []ID{step.Step}}
}

// seal gives the second seal to what an earlier run made without coming to it.
func (b *builder) seal(of Head, c candidate, key origin.Key) {
	if c.proof == origin.First {
		tags := map[string]string{origin.SealedID: key.SealID(c.id(), tagMap(c.Tags)[origin.Sealed])}
		b.add(&TagResource{Head: Head{Step: "seal/" + of.Step, At: of.At, For: of.For, Takes: callTime}, Resource: Ref{Known: c.id()}, Tags: tags})
	}
}

// share lets accounts use a snapshot. Who might use one of the image's own snapshots before is remembered on it first.
func (b *builder) share(s *supply, it item, source ready, accounts []string) []ID {
	var shares []ID
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		step := &ShareSnapshot{Head: Head{Step: id("share", s.at.Region, it.device()), At: s.at, Needs: slices.Clone(source.needs), Takes: callTime}, Snapshot: source.ref, Device: it.device(), Accounts: chunk}
		if _, known := origin.Remembered(tagMap(it.snapshot.Tags)); i == 0 && !it.staged && !known {
			step.Remember = origin.Remember(it.snapshot.SharedWith)
		}
		if i > 0 {
			step.Step += ID(fmt.Sprintf("/%d", i+1))
			step.Needs = append(step.Needs, shares...)
		}
		shares = append(shares, b.add(step))
	}
	return shares
}

// strangers are the accounts that a snapshot has to be shared with, sorted.
func strangers(it item, wanting []goal) []string {
	var accounts []string
	for _, g := range wanting {
		known := g.At.Account == aws.ToString(it.snapshot.OwnerId) || !it.staged && slices.Contains(it.snapshot.SharedWith, g.At.Account)
		if !known && !slices.Contains(accounts, g.At.Account) {
			accounts = append(accounts, g.At.Account)
		}
	}
	slices.Sort(accounts)
	return accounts
}

// copies makes a destination's own snapshots, as soon as each is to be had: no barrier per image.
func (b *builder) copies(g goal, offers []*offer) map[string]ready {
	made := map[string]ready{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		if g.image != nil {
			made[v.id()] = ready{ref: Ref{Known: snapshotOf(*g.image, v.device())}}
			continue
		}
		from, source := g.FromRegion, ready{ref: Ref{Known: v.id()}, key: v.key()}
		i := slices.IndexFunc(offers, func(o *offer) bool {
			return slices.ContainsFunc(o.consumers, func(d Destination) bool { return d.At == g.At })
		})
		var access *access
		if i >= 0 && g.wants(v.id()) {
			from, source = offers[i].at.Region, offers[i].ready[v.id()]
			if access = b.admit(g, offers[i].supply, source.key); access != nil {
				source.needs = append(slices.Clone(source.needs), access.await)
			}
		}
		made[v.id()] = b.copy(v, source, CopySnapshot{
			Head:        Head{Step: id("copy", g.At.Account, g.At.Region, v.device()), At: g.At, For: g.At},
			FromRegion:  from,
			KeyARN:      g.keyARN,
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

// register makes the destination's image from its copies, unless an earlier run did, and has it verified.
func (b *builder) register(g *goal, copies map[string]ready) {
	image := b.facts.Images[g.FromRegion]
	r := &RegisterImage{
		Head:        Head{Step: id("register", g.At.Account, g.At.Region), At: g.At, For: g.At, Takes: callTime},
		Name:        g.Name,
		Description: g.Description,
		Source:      *image.Image,
		UEFIData:    image.UEFIData,
		Snapshots:   map[string]Ref{},
		Tags:        joined(g.Tags, g.mark(b.req, b.facts, "").Tags(image.SealKey)),
		Mark:        g.mark(b.req, b.facts, ""),
		SealKey:     image.SealKey,
	}
	verify := &VerifyImage{
		Head:      Head{Step: id("verify", g.At.Account, g.At.Region), At: g.At, For: g.At, Takes: callTime},
		Target:    g.Target,
		Register:  r,
		Snapshots: map[string]Wanted{},
	}
	for _, v := range volumes(image) {
		source := copies[v.id()]
		r.Needs = append(r.Needs, source.needs...)
		for _, device := range v.devices {
			r.Snapshots[device] = source.ref
			verify.Snapshots[device] = Wanted{Snapshot: source.ref, KeyARN: g.keyARN, GiB: v.gib()}
		}
	}
	r.Needs = append(r.Needs, b.deregister(*g)...)
	var seals []ID
	if g.image != nil {
		verify.Image = Ref{Known: aws.ToString(g.image.ImageId)}
		tags := tagMap(g.image.Tags)
		if tags[origin.SealedID] == "" {
			seals = append(seals, b.add(&TagResource{Head: Head{Step: "seal/" + r.Step, At: g.At, For: g.At, Takes: callTime}, Resource: verify.Image,
				Tags: map[string]string{origin.SealedID: image.SealKey.SealID(verify.Image.Known, tags[origin.Sealed])}}))
		}
	} else {
		verify.Image = Ref{From: b.add(r)}
		verify.Needs = append(slices.Clone(r.Needs), r.Step)
	}
	g.ami, g.proofs = verify.Image, append(append(g.proofs, b.add(verify)), seals...)
}

// deregister removes images that are ours, but not what the image has to be.
func (b *builder) deregister(g goal) []ID {
	var gone []ID
	for _, broken := range g.broken {
		gone = append(gone, b.add(&DeregisterImage{
			Head:  Head{Step: id("deregister", g.At.Account, g.At.Region, aws.ToString(broken.ImageId)), At: g.At, For: g.At, Takes: callTime},
			Image: Ref{Known: aws.ToString(broken.ImageId)},
		}))
	}
	return gone
}

// tidy removes what earlier runs left at a destination and nothing needs.
func (b *builder) tidy(g goal) {
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		b.drop(g.At, g.At, g.copies[v.id()].surplus)
	}
	b.endLaunches(g.Destination)
}

// drop deletes snapshots that are provably ours and of no use.
func (b *builder) drop(at, destination Place, surplus []candidate, after ...ID) {
	for _, c := range surplus {
		b.add(&DeleteSnapshot{Head: Head{Step: id("delete", at.Account, at.Region, c.id()), At: at, For: destination, Needs: after, Takes: callTime}, Snapshot: Ref{Known: c.id()}})
	}
}

// takeBack withdraws, in every outcome, the permissions that this plan and runs before it gave, and deletes the staged snapshots once
// every copy of them has succeeded: after a failure they stay for the next run.
func (b *builder) takeBack(o *offer) {
	for _, it := range o.items {
		source, used := o.ready[it.id()], o.used[it.id()]
		withdrawn := b.withdraw(o, it, used)
		if !it.staged {
			continue
		}
		_, old := stagedForOthers(b.req, b.facts, o.supply, it.volume)
		b.drop(o.at, Place{}, old)
		left := stagedAt(b.req, b.facts, o.supply, it.volume)
		if source.ref == (Ref{}) { // nobody had to copy it any more
			b.drop(o.at, Place{}, left.all())
			continue
		}
		head := Head{Step: id("delete", o.at.Region, it.device()), At: o.at, Needs: slices.Clone(used), After: withdrawn, Takes: callTime}
		if source.ref.From != "" {
			head.Needs = append([]ID{source.ref.From}, used...)
		}
		b.add(&DeleteSnapshot{Head: head, Snapshot: source.ref, Device: it.device()})
		b.drop(o.at, Place{}, left.surplus)
	}
}

// withdraw takes permissions back, and with the last of them the memory of who had one before.
func (b *builder) withdraw(o *offer, it item, used []ID) []ID {
	source := o.ready[it.id()]
	if !it.staged {
		source = ready{ref: Ref{Known: it.id()}}
	}
	_, remembered := origin.Remembered(tagMap(it.snapshot.Tags))
	chunks := slices.Collect(slices.Chunk(b.toWithdraw(o, it), maxShared))
	if len(chunks) == 0 && remembered && !it.staged {
		chunks = [][]string{nil}
	}
	var withdrawn []ID
	for i, accounts := range chunks {
		step := &WithdrawShare{Head: Head{Step: id("withdraw", o.at.Region, it.device()), At: o.at, After: slices.Concat(used, withdrawn), Takes: callTime},
			Snapshot: source.ref, Device: it.device(), Accounts: accounts, Forget: !it.staged && i == len(chunks)-1}
		if i > 0 {
			step.Step += ID(fmt.Sprintf("/%d", i+1))
		}
		if source.ref.From != "" {
			step.Needs = []ID{source.ref.From}
		}
		withdrawn = append(withdrawn, b.add(step))
	}
	return withdrawn
}

// toWithdraw are the accounts whose permission on a snapshot is ours: what this plan gives, and what an earlier run gave to one of
// the image's own snapshots, which remembers who had it before. Accounts that are no destination's here are left to the runs that serve
// them.
func (b *builder) toWithdraw(o *offer, it item) []string {
	accounts := slices.Clone(o.given[it.id()])
	for _, account := range it.givenBefore() {
		if !slices.Contains(accounts, account) && slices.ContainsFunc(b.all, func(d Destination) bool { return d.At.Account == account }) {
			accounts = append(accounts, account)
		}
	}
	slices.Sort(accounts)
	return accounts
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
		if c, ok := s.(*CopySnapshot); ok && c.Found == "" { // else it is paid already
			e.Copies++
			e.GiBStored += c.GiB
			if c.For == (Place{}) {
				e.GiBStaged += c.GiB
			}
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
