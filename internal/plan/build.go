// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// maxShared is how many accounts one sharing call takes (rule 2.1.6).
const maxShared = 500

// builder collects the steps of a plan. Each step comes after its dependencies.
type builder struct {
	*Assessment
	destinations []distribution.Destination // destinations of the request, also the excluded ones
	steps        []step.Step

	keyGrants []*keyGrant // temporary grants on source keys
	findings  []distribution.Finding

	onlyCleansUp bool
	imageNames   map[distribution.Location][]string // names that runs give images
	used         map[string]bool                    // existing images and snapshots that the plan uses
	deregistered map[string]distribution.StepID     // existing images that steps deregister
	watermarked  map[string]distribution.StepID     // source images that steps attach watermarks to
}

func (a *Assessment) newBuilder(all []distribution.Destination, sources []*shareSource) *builder {
	b := &builder{
		Assessment:   a,
		destinations: all,
		imageNames:   map[distribution.Location][]string{},
		used:         map[string]bool{},
		deregistered: map[string]distribution.StepID{},
		watermarked:  map[string]distribution.StepID{},
	}

	for _, d := range all {
		b.imageNames[d.At] = append(b.imageNames[d.At], d.Name)
	}

	for _, s := range sources {
		b.imageNames[s.location] = append(b.imageNames[s.location], s.imageSpec(a).Name)
	}

	return b
}

// destinationState is a destination with its existing image and copies.
type destinationState struct {
	distribution.Destination
	keyARN        string
	image         *ec2types.Image               // complete, and only to be verified
	pending       *ec2types.Image               // being copied by CopyImage
	unfinished    []ec2types.Image              // failed or never signed
	copies        map[string]*ec2types.Snapshot // reusable snapshots, by the ID of the source snapshot
	imageRef      step.Ref                      // existing or future image
	verifiedImage step.Ref                      // image as the output of its VerifyImage step
	verifications []distribution.StepID         // steps that must succeed before the image is published
}

// snapshotRef refers to a snapshot or image that can be copied or registered, with the steps that must succeed
// first.
type snapshotRef struct {
	ref       step.Ref
	others    []deviceRef // of a staged image, whose copy may have a snapshot for each device
	key       string      // its encryption key. Empty if it is not encrypted
	dependsOn []distribution.StepID
}

// deviceRef refers to the snapshot of a device.
type deviceRef struct {
	stepName, device string
	ref              step.Ref
}

// ofDevices returns the snapshots that a volume's devices use. If several devices use the same snapshot, CopyImage may
// create one copy for all of them, or one for each device.
func (r snapshotRef) ofDevices(v volume) []deviceRef {
	return append([]deviceRef{{v.stepName(), v.device(), r.ref}}, r.others...)
}

// withDevices returns a reference to the snapshots of a volume's devices.
func (v volume) withDevices(source snapshotRef, refOf func(device string) step.Ref) snapshotRef {
	source.ref = refOf(v.device())
	for _, device := range v.devices[1:] {
		other := volume{devices: []string{device}, snapshot: v.snapshot}
		source.others = append(source.others, deviceRef{other.stepName(), device, refOf(device)})
	}
	return source
}

// preparedSource is a share source with the steps that prepare it. Its maps have the ID of the source snapshot as
// key.
type preparedSource struct {
	*shareSource
	snapshots         map[string]snapshotRef
	temporaryAccounts map[string][]string              // accounts with a permission until their copies are complete
	copySteps         map[string][]distribution.StepID // copies that the plan makes of it

	imageRef     snapshotRef           // the image itself. Zero if no step uses it
	stageSteps   []distribution.StepID // steps that create the staged image. Empty for an existing one
	imageBatches []*imageBatch         // accounts that may copy the image until their copies are complete
	// permanentShares are the steps that add the launch permissions of share blocks.
	permanentShares []distribution.StepID
	resumesImage    bool // an earlier run created the staged image, and may have shared it
}

// cleanUpSteps returns the steps that delete what earlier runs left unfinished. Completed copies stay.
func (a *Assessment) cleanUpSteps(
	all []distribution.Destination, sources []*shareSource,
) ([]step.Step, []distribution.Finding) {
	b := a.newBuilder(all, sources)
	b.onlyCleansUp = true
	b.deleteUnused()
	b.revokeGrants()
	return b.steps, b.findings
}

// buildSteps returns the steps that create the image of every destination. They stage and share the source, copy,
// register and verify. Cleanup steps then remove what no copy needs.
func (a *Assessment) buildSteps(
	all, destinations []distribution.Destination, sources []*shareSource,
) ([]step.Step, []distribution.Finding) {
	b := a.newBuilder(all, sources)
	b.tagImageFamily()
	b.watermarkSources()
	states := make([]destinationState, len(destinations))
	for i, d := range destinations {
		states[i] = b.newDestinationState(d)
	}

	for i := range states {
		b.grant(&states[i])
	}

	b.grantShared(sources)
	prepared := make([]*preparedSource, len(sources))
	for i, s := range sources {
		prepared[i] = b.prepareSource(s, states)
		b.addTestCopies(prepared[i], states)
	}

	copies := make([]map[string]snapshotRef, len(states))
	for _, i := range inBatchOrder(states, prepared) {
		copies[i] = b.copies(&states[i], prepared)
	}

	for i := range states {
		b.addImage(&states[i], copies[i])
		b.addLaunchCheck(&states[i])
		b.addImageSettings(&states[i])
	}

	b.addPublishBarrier(states)
	var done []distribution.StepID
	for _, g := range states {
		published := b.publish(g)
		b.deleteReleases(g, published)
		done = append(append(done, g.verifications...), published...)
	}
	done = append(done, b.publishShares(prepared, states)...)
	b.retireSources(len(all), len(destinations), done)

	for _, o := range prepared {
		b.revokeShares(o)
	}

	b.deleteUnused()
	b.revokeGrants()
	return b.steps, b.findings
}

func (b *builder) add(s step.Step) distribution.StepID {
	b.steps = append(b.steps, s)
	return s.Meta().ID
}

// newDestinationState returns what exists at a destination, so that the plan adds only the missing steps.
func (b *builder) newDestinationState(d distribution.Destination) destinationState {
	g := destinationState{
		Destination: d,
		keyARN:      destinationKeyARN(d, b.facts),
		copies:      map[string]*ec2types.Snapshot{},
	}

	found := b.imageAt(d)
	g.image, g.pending, g.unfinished = found.use, found.pending, found.unfinished
	for _, image := range []*ec2types.Image{g.image, g.pending} {
		if image != nil {
			b.used[aws.ToString(image.ImageId)] = true
		}
	}

	if g.pending != nil {
		g.Method = distribution.ByImage
	}

	if g.image != nil || g.Method == distribution.ByImage {
		return g
	}

	for _, v := range volumes(b.facts.Images[d.FromRegion]) {
		g.copies[v.id()] = reusableCopy(b.facts, v, b.copySigning(d, v.device()), d.Name)
	}

	return g
}

// needsCopy reports whether a destination still needs a copy of a volume.
func (g destinationState) needsCopy(volume string) bool {
	return g.image == nil && g.pending == nil && g.copies[volume] == nil
}

// signing returns the statement for a staged snapshot or image.
func (s *shareSource) signing(a *Assessment, kind provenance.Kind, device string) step.Signing {
	signing := a.newSigning(s.location, s.region, kind)
	signing.Statement.KeyARN, signing.Statement.Device = s.keyARN, device
	if kind == provenance.Image && !s.permanent.IsEmpty() {
		signing.Statement.Role, signing.Statement.Device = provenance.Delivery, provenance.SharedImage
	}
	return signing
}

// imageID returns the source image of a Region.
func imageID(req distribution.Request, region string) string {
	i := slices.IndexFunc(req.Images, func(i distribution.SourceImage) bool { return i.Region == region })
	return req.Images[i].ImageID
}

// prepareSource adds the steps that stage and share what destinations still need, and what share blocks name.
func (b *builder) prepareSource(s *shareSource, states []destinationState) *preparedSource {
	o := &preparedSource{
		shareSource:       s,
		snapshots:         map[string]snapshotRef{},
		temporaryAccounts: map[string][]string{},
		copySteps:         map[string][]distribution.StepID{},
	}

	consumers := slices.DeleteFunc(slices.Clone(states), func(g destinationState) bool { return !s.serves(g.At) })
	consumersOf := make([][]destinationState, len(s.items))
	isNeeded := !s.permanent.IsEmpty() && s.existingImageID == ""
	for i, v := range s.items {
		consumersOf[i] = slices.DeleteFunc(
			slices.Clone(consumers),
			func(g destinationState) bool { return !g.needsCopy(v.id()) },
		)
		isNeeded = isNeeded || len(consumersOf[i]) > 0
	}

	if !isNeeded {
		b.used[s.existingImageID] = true
		return o
	}

	if s.sharesImage(b.facts.Source.Account) {
		o.imageRef = snapshotRef{ref: step.Ref{Known: imageID(b.req, s.region)}}
	}

	if s.stagesImage {
		o.imageRef = b.stageImage(s)
		found := b.stagedImages(s)
		o.resumesImage = found.use != nil || found.pending != nil
	}

	var permanentShares []distribution.StepID
	for i, v := range s.items {
		if len(consumersOf[i]) == 0 && (s.permanent.IsEmpty() || s.existingImageID != "") {
			continue
		}

		source := b.prepareVolume(o, v)
		var volumeShares []distribution.StepID
		if s.existingImageID == "" {
			volumeShares = b.share(o, v, source, s.permanent.Accounts, "lasting")
		}

		permanentShares = append(permanentShares, volumeShares...)
		needed := distribution.Without(accountsOf(consumersOf[i]), append(v.permanentAccounts(), o.location.Account))
		o.temporaryAccounts[v.id()] = distribution.Without(needed, s.permanent.Accounts)
		shares := b.share(o, v, source, o.temporaryAccounts[v.id()])
		if len(o.temporaryAccounts[v.id()]) < len(needed) {
			shares = append(shares, volumeShares...)
		}

		source.dependsOn = append(slices.Clone(source.dependsOn), shares...)
		o.snapshots[v.id()] = source
	}

	b.shareImage(o, consumersOf, permanentShares)
	return o
}

// prepareVolume returns the snapshot of a volume in the source account that others copy. It is the volume's own
// snapshot, a staged copy, or a snapshot of the staged image.
func (b *builder) prepareVolume(o *preparedSource, v sourceVolume) snapshotRef {
	source := snapshotRef{ref: step.Ref{Known: v.id()}, key: v.key()}
	staged := snapshotRef{key: o.keyARN, dependsOn: o.imageRef.dependsOn}
	switch {
	case !v.isStaged:
		return source
	case !o.stagesImage:
		signing := o.signing(b.Assessment, provenance.Snapshot, v.device())
		return b.copy(v.volume, source, step.CopySnapshot{
			Base:        step.Base{ID: step.NewID("stage", o.location.Region, v.stepName()), Location: o.location},
			FromRegion:  o.region,
			KeyARN:      o.keyARN,
			Description: fmt.Sprintf("Staged for other accounts: %s of %s", v.device(), imageID(b.req, o.region)),
			Tags:        joined(b.runTagsAt(o.shareSource), signing.CreationTags()),
			Signing:     signing,
		}, reusableCopy(b.facts, v.volume, signing, ""))
	case o.imageRef.ref.Known != "":
		image := b.stagedImages(o.shareSource).use
		return v.withDevices(staged, func(device string) step.Ref {
			return step.Ref{Known: snapshotOf(*image, device)}
		})
	}

	return v.withDevices(staged, func(device string) step.Ref {
		return step.Ref{From: o.imageRef.ref.From, Device: device}
	})
}

// stageImage returns an image in the source account that can be shared. It reuses or resumes the image of an
// earlier run, or adds a step that copies it.
func (b *builder) stageImage(s *shareSource) snapshotRef {
	spec := s.imageSpec(b.Assessment)
	found := b.stagedImages(s)
	// its signature as a delivery is final, so it needs no step
	if found.use != nil && spec.Signing.Statement.Role == provenance.Delivery {
		b.used[aws.ToString(found.use.ImageId)] = true
		return snapshotRef{ref: step.Ref{Known: aws.ToString(found.use.ImageId)}}
	}

	snapshotTags := spec.Signing.CreationTags()
	if spec.Signing.Statement.Role != provenance.Delivery { // run_tags are only for temporary resources
		spec.Tags, snapshotTags = joined(b.runTagsAt(s), spec.Tags), joined(b.runTagsAt(s), snapshotTags)
	}

	return b.copyImage(s.region, cmp.Or(found.use, found.pending), step.CopyImage{
		Base:         step.Base{ID: step.NewID("stage", s.location.Region, wholeImage), Location: s.location},
		ImageSpec:    spec,
		Image:        step.Ref{Known: imageID(b.req, s.region)},
		FromRegion:   s.region,
		FromKeyARNs:  keysOf(b.facts.Images[s.region]),
		KeyARN:       s.keyARN,
		SnapshotTags: snapshotTags,
	})
}

// wholeImage replaces the device in the ID of a step for a whole image.
const wholeImage = "image"

// copyImage adds a copy of a Region's image. It resumes the copy of an earlier run, if there is one.
func (b *builder) copyImage(region string, existing *ec2types.Image, newStep step.CopyImage) snapshotRef {
	var totalMiB int64 // MiB
	for _, v := range volumes(b.facts.Images[region]) {
		newStep.Devices = append(newStep.Devices, v.devices...)
		newStep.GiB += v.gib()
		newStep.ExpectedDuration = max(newStep.ExpectedDuration, copyTime(v, newStep.Minutes))
		newStep.Rate += rate(v.mib(), newStep.Minutes)
		totalMiB += v.mib()
	}

	if newStep.Minutes > 0 { // all snapshots together share the throughput of the queue
		newStep.ExpectedDuration = max(newStep.ExpectedDuration, leastTime(totalMiB, step.QueueRate))
	}

	if id, isWatermarked := b.watermarked[newStep.Image.Known]; isWatermarked { // the copy keeps the watermarks
		newStep.DependsOn = append(newStep.DependsOn, id)
	}

	slices.Sort(newStep.Devices)
	newStep.Queue = step.ImageCopyQueue(newStep.Location)
	if existing != nil {
		newStep.ResumeID, newStep.DependsOn = aws.ToString(existing.ImageId), nil
		if existing.State == ec2types.ImageStateAvailable {
			newStep.IsResumeComplete, newStep.ExpectedDuration = true, callTime
		}
		newStep.NotRepeatable = b.isCrossAccount(newStep.Location)
		b.used[newStep.ResumeID] = true
	}

	return snapshotRef{
		ref:       step.Ref{From: b.add(&newStep)},
		key:       newStep.KeyARN,
		dependsOn: []distribution.StepID{newStep.ID},
	}
}

// keysOf returns the keys of an image's snapshots, sorted.
func keysOf(image distribution.Image) []string {
	var keys []string
	for _, v := range volumes(image) {
		if v.key() != "" {
			keys = append(keys, v.key())
		}
	}
	return distribution.Union(keys, nil)
}

// shareImage adds launch permissions for the accounts that copy the image and for share blocks. The snapshots are
// shared first, because a launch needs both.
func (b *builder) shareImage(o *preparedSource, wanting [][]destinationState, snapshotShares []distribution.StepID) {
	if o.imageRef.ref == (step.Ref{}) {
		return
	}

	var permanent []string
	if image := b.facts.Images[o.region]; !o.stagesImage {
		permanent = permanentAccounts(
			image.SharedWith.Accounts,
			image.Image.Tags,
			provenance.Permanent(tagMap(image.Image.Tags)),
		)
	}

	base := step.Base{
		ID:               step.NewID("share", o.location.Region, wholeImage, "lasting"),
		Location:         o.location,
		DependsOn:        slices.Concat(o.imageRef.dependsOn, snapshotShares, b.watermarkOf(o.region)),
		ExpectedDuration: callTime,
	}

	var permanentShares []distribution.StepID
	if !o.permanent.IsEmpty() && o.existingImageID == "" {
		newStep := &step.ShareImage{Base: base, Image: o.imageRef.ref, With: o.permanent, Lasting: true}
		newStep.PermanentOn = imageID(b.req, o.region)
		newStep.Baseline = !o.stagesImage
		permanentShares = append(permanentShares, b.add(newStep))
	}

	o.permanentShares = permanentShares
	var copying []destinationState
	for _, states := range wanting {
		copying = append(
			copying,
			slices.DeleteFunc(states, func(g destinationState) bool { return g.Method != distribution.ByImage })...)
	}

	needed := distribution.Without(accountsOf(copying), append(permanent, o.location.Account))
	temporary := distribution.Without(needed, o.permanent.Accounts)
	o.stageSteps = slices.Clone(o.imageRef.dependsOn)
	b.splitImageBatches(o, temporary)
	if len(temporary) < len(needed) {
		o.imageRef.dependsOn = append(o.imageRef.dependsOn, permanentShares...)
	}
}

// accountsOf returns the accounts of destinations, sorted.
func accountsOf(states []destinationState) []string {
	var accounts []string
	for _, g := range states {
		accounts = append(accounts, g.At.Account)
	}
	return distribution.Union(accounts, nil)
}

// copy adds a copy of a volume. It resumes the copy of an earlier run, if there is one.
func (b *builder) copy(
	v volume, source snapshotRef, newStep step.CopySnapshot, existing *ec2types.Snapshot,
) snapshotRef {
	newStep.Source, newStep.FromKeyARN = source.ref, source.key
	newStep.Device, newStep.GiB = v.device(), v.gib()
	newStep.DependsOn, newStep.ExpectedDuration = source.dependsOn, copyTime(v, newStep.Minutes)
	newStep.Queue, newStep.Rate = step.SnapshotCopyQueue(newStep.Location), rate(v.mib(), newStep.Minutes)
	if existing != nil {
		newStep.ResumeID, newStep.DependsOn = aws.ToString(existing.SnapshotId), nil
		newStep.ExpectedDuration = remainingTime(newStep.ExpectedDuration, existing)
		newStep.IsResumeComplete = existing.State == ec2types.SnapshotStateCompleted
		newStep.NotRepeatable = b.isCrossAccount(newStep.Location)
		b.used[newStep.ResumeID] = true
	}
	return snapshotRef{
		ref:       step.Ref{From: b.add(&newStep)},
		key:       newStep.KeyARN,
		dependsOn: []distribution.StepID{newStep.ID},
	}
}

// remainingTime returns how long a copy that takes a time still takes, by the progress that AWS reports.
func remainingTime(whole time.Duration, existing *ec2types.Snapshot) time.Duration {
	if existing.State == ec2types.SnapshotStateCompleted {
		return callTime
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(aws.ToString(existing.Progress), "%"))
	if err != nil || percent < 0 || percent > 100 {
		return whole
	}
	return max(whole*time.Duration(100-percent)/100, callTime)
}

// isCrossAccount reports whether a location is in another account than the source. A resumed copy in another account
// cannot be repeated after a failure, because the plan does not share the source for it.
func (b *builder) isCrossAccount(at distribution.Location) bool {
	return at.Account != b.facts.Source.Account
}

// share adds create volume permissions for accounts. It includes accounts that already have one, because another
// run may remove a temporary permission.
func (b *builder) share(
	o *preparedSource,
	v sourceVolume,
	source snapshotRef,
	accounts []string,
	kind ...string,
) []distribution.StepID {
	var shares []distribution.StepID
	for _, used := range source.ofDevices(v.volume) {
		shares = append(shares, b.shareDevice(o, v, source, used, accounts, kind...)...)
	}
	return shares
}

// shareDevice adds create volume permissions on the snapshot of one device.
func (b *builder) shareDevice(
	o *preparedSource,
	v sourceVolume,
	source snapshotRef,
	used deviceRef,
	accounts []string,
	kind ...string,
) []distribution.StepID {
	var shares []distribution.StepID
	for i, chunk := range slices.Collect(slices.Chunk(accounts, maxShared)) {
		newStep := &step.ShareSnapshot{
			Base: step.Base{
				ID:               step.NewID(append([]string{"share", o.location.Region, used.stepName}, kind...)...),
				Location:         o.location,
				DependsOn:        slices.Clone(source.dependsOn),
				ExpectedDuration: callTime,
			},
			Snapshot: used.ref,
			Device:   used.device,
			Accounts: chunk,
			Baseline: !v.isStaged,
		}

		if len(kind) > 0 {
			newStep.PermanentOn = imageID(b.req, o.region)
		}

		if i > 0 {
			newStep.ID += distribution.StepID(fmt.Sprintf("/%d", i+1))
			newStep.DependsOn = append(newStep.DependsOn, shares...)
		}

		shares = append(shares, b.add(newStep))
	}

	return shares
}

// permanentAccounts returns the accounts that keep their permission on a volume's snapshot. A staged copy has none.
func (v sourceVolume) permanentAccounts() []string {
	if v.isStaged {
		return nil
	}
	return permanentAccounts(v.snapshot.SharedWith, v.snapshot.Tags, v.permanent)
}

// permanentAccounts returns the accounts whose access predates all runs, and those of share blocks. Without a
// baseline tag, all of them count as permanent.
func permanentAccounts(permitted []string, tags []ec2types.Tag, shared []string) []string {
	baseline, known, err := provenance.Baseline(tagMap(tags))
	if !known || err != nil || invariant.OwnShares.IsOff() {
		return slices.Clone(permitted)
	}
	return slices.DeleteFunc(slices.Clone(permitted), func(account string) bool {
		return !slices.Contains(baseline, account) && !slices.Contains(shared, account)
	})
}

// copies adds the copies of a destination's snapshots, or of its image. Each snapshot starts as soon as its source
// is ready.
func (b *builder) copies(g *destinationState, sources []*preparedSource) map[string]snapshotRef {
	refs := map[string]snapshotRef{}
	i := slices.IndexFunc(sources, func(o *preparedSource) bool { return o.serves(g.At) })
	if g.image != nil {
		for _, v := range volumes(b.facts.Images[g.FromRegion]) {
			refs[v.id()] = snapshotRef{ref: step.Ref{Known: snapshotOf(*g.image, v.device())}}
		}
		return refs
	}

	if g.Method == distribution.ByImage {
		if i < 0 {
			return b.addImageCopy(g, nil)
		}
		return b.addImageCopy(g, sources[i])
	}

	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		from, source := g.FromRegion, snapshotRef{ref: step.Ref{Known: v.id()}, key: v.key()}
		var grant *keyGrant
		if i >= 0 && g.needsCopy(v.id()) {
			from, source = sources[i].location.Region, sources[i].snapshots[v.id()]
			if grant = b.grantSourceKey(*g, sources[i].shareSource, source.key); grant != nil {
				source.dependsOn = append(slices.Clone(source.dependsOn), grant.wait)
			}
		}

		signing := b.copySigning(g.Destination, v.device())
		tags, _ := copiedSnapshotTags(g.Destination, v.snapshot.Snapshot)
		refs[v.id()] = b.copy(v, source, step.CopySnapshot{
			Base: step.Base{
				ID:          step.NewID("copy", g.At.Account, g.At.Region, v.stepName()),
				Location:    g.At,
				Destination: g.At,
			},
			FromRegion:  from,
			KeyARN:      g.keyARN,
			Minutes:     g.CopyMinutes,
			Description: fmt.Sprintf("%s of %s", v.device(), g.Name),
			Tags:        joined(tags, signing.CreationTags()),
			Signing:     signing,
		}, g.copies[v.id()])

		if grant != nil {
			grant.copySteps = append(grant.copySteps, refs[v.id()].dependsOn...)
		}

		if i >= 0 {
			sources[i].copySteps[v.id()] = append(sources[i].copySteps[v.id()], refs[v.id()].dependsOn...)
		}
	}

	return refs
}

// addImageCopy adds one CopyImage step for a destination. The owner of the source image copies it directly.
func (b *builder) addImageCopy(g *destinationState, source *preparedSource) map[string]snapshotRef {
	snapshotTags, _ := imageSnapshotTags(g.Destination, volumes(b.facts.Images[g.FromRegion]))
	newStep := step.CopyImage{
		Base: step.Base{
			ID:          step.NewID("copy", g.At.Account, g.At.Region, wholeImage),
			Location:    g.At,
			Destination: g.At,
			DependsOn:   b.deregister(g),
		},
		ImageSpec:    b.destinationImageSpec(g.Destination),
		Image:        step.Ref{Known: imageID(b.req, g.FromRegion)},
		FromRegion:   g.FromRegion,
		FromKeyARNs:  keysOf(b.facts.Images[g.FromRegion]),
		KeyARN:       g.keyARN,
		Minutes:      g.CopyMinutes,
		SnapshotTags: joined(snapshotTags, b.deliverySigning(g.Destination).CreationTags()),
	}

	var grants []*keyGrant
	if source != nil && source.imageRef.ref != (step.Ref{}) && g.pending == nil {
		newStep.Image, newStep.FromRegion, newStep.FromKeyARNs = source.imageRef.ref, source.location.Region, source.keys()
		newStep.DependsOn = append(newStep.DependsOn, source.imageRef.dependsOn...)
		newStep.DependsOn = append(newStep.DependsOn, b.awaitImageBatch(source, g.At.Account)...)
		for _, v := range source.items {
			newStep.DependsOn = append(newStep.DependsOn, source.snapshots[v.id()].dependsOn...)
		}

		for _, key := range newStep.FromKeyARNs {
			if grant := b.grantSourceKey(*g, source.shareSource, key); grant != nil {
				newStep.DependsOn = append(newStep.DependsOn, grant.wait)
				grants = append(grants, grant)
			}
		}

		slices.Sort(newStep.DependsOn)
		newStep.DependsOn = slices.Compact(newStep.DependsOn)
	}

	newStep.DependsOn = append(newStep.DependsOn, b.deregisterNamesake(*g, newStep.DependsOn, nil)...)
	copied := b.copyImage(g.FromRegion, g.pending, newStep)
	for _, grant := range grants {
		grant.copySteps = append(grant.copySteps, copied.dependsOn...)
	}

	refs := map[string]snapshotRef{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		refs[v.id()] = snapshotRef{
			ref:       step.Ref{From: copied.ref.From, Device: v.device()},
			key:       g.keyARN,
			dependsOn: copied.dependsOn,
		}
		if source != nil {
			source.copySteps[v.id()] = append(source.copySteps[v.id()], copied.dependsOn...)
		}
	}

	if source != nil {
		source.addBatchCopy(g.At.Account, copied.dependsOn)
	}

	return refs
}

// addImage adds the steps that register and verify a destination's image. An existing or copied image is only
// verified.
func (b *builder) addImage(g *destinationState, copies map[string]snapshotRef) {
	spec := b.destinationImageSpec(g.Destination)
	verify := &step.VerifyImage{
		Base: step.Base{
			ID:               step.NewID("verify", g.At.Account, g.At.Region),
			Location:         g.At,
			Destination:      g.At,
			ExpectedDuration: callTime,
		},
		ImageSpec: spec,
		Target:    g.Target,
		Snapshots: map[string]step.ExpectedSnapshot{},
	}

	snapshots := map[string]step.Ref{}
	for _, v := range volumes(b.facts.Images[g.FromRegion]) {
		source := copies[v.id()]
		verify.DependsOn = append(verify.DependsOn, source.dependsOn...)
		for _, device := range v.devices {
			ref := source.ref
			switch {
			case g.image != nil: // CopyImage may have made a copy for each device
				ref = step.Ref{Known: snapshotOf(*g.image, device)}
			case ref.Device != "":
				ref.Device = device
			}
			snapshots[device] = ref
			verify.Snapshots[device] = step.ExpectedSnapshot{Snapshot: ref, KeyARN: g.keyARN, GiB: v.gib()}
		}
	}

	base := step.Base{
		ID:               step.NewID("register", g.At.Account, g.At.Region),
		Location:         g.At,
		Destination:      g.At,
		ExpectedDuration: callTime,
	}

	switch {
	case g.image != nil:
		verify.Image = step.Ref{Known: aws.ToString(g.image.ImageId)}
		verify.DependsOn = append(verify.DependsOn, b.deregister(g)...)
	case g.Method == distribution.ByImage:
		verify.DependsOn = slices.Compact(verify.DependsOn)
		verify.Image = step.Ref{From: verify.DependsOn[0]}
	default:
		base.DependsOn = slices.Concat(verify.DependsOn, b.deregister(g))
		base.DependsOn = append(base.DependsOn, b.deregisterNamesake(*g, base.DependsOn, copies)...)
		verify.Image = step.Ref{From: b.add(&step.RegisterImage{Base: base, ImageSpec: spec, Snapshots: snapshots})}
		verify.DependsOn = append(slices.Clone(base.DependsOn), base.ID)
	}

	verify.DependsOn = append(verify.DependsOn, b.watermarkOf(g.FromRegion)...)
	g.verifiedImage = step.Ref{From: b.add(verify)}
	g.imageRef, g.verifications = verify.Image, append(g.verifications, g.verifiedImage.From)
}

// deregister adds the steps that deregister a destination's unfinished images. Images from CopyImage go with their
// snapshots (rule 9.6).
func (b *builder) deregister(g *destinationState) []distribution.StepID {
	var ids []distribution.StepID
	for _, broken := range g.unfinished {
		id := aws.ToString(broken.ImageId)
		if b.deregistered[id] == "" {
			b.deregistered[id] = b.add(&step.DeregisterImage{
				Base: step.Base{
					ID:               step.NewID("deregister", g.At.Account, g.At.Region, id),
					Location:         g.At,
					Destination:      g.At,
					ExpectedDuration: callTime,
				},
				Image:         step.Ref{Known: id},
				WithSnapshots: broken.SourceImageId != nil,
				Expected:      expectedImage(b.facts, b.imageNames[g.At]),
				Release:       b.releaseOf(broken.Tags),
			})
		}

		ids = append(ids, b.deregistered[id])
	}

	return ids
}

// revokeShares adds the steps that remove staged resources and their permissions. Permissions are removed even
// after a failure, but staged resources stay for the next run. Permissions on source snapshots are removed at the
// end of the run, because other runs may need them.
func (b *builder) revokeShares(o *preparedSource) {
	if o.stagesImage && !o.permanent.IsEmpty() {
		return
	}

	var unshareSteps []distribution.StepID
	for _, v := range o.items {
		source, copySteps := o.snapshots[v.id()], o.copySteps[v.id()]
		if !v.isStaged || source.ref == (step.Ref{}) {
			continue
		}

		unshared := b.unshareSnapshot(o, v, copySteps)
		unshareSteps = append(unshareSteps, unshared...)
		if !o.stagesImage {
			b.add(&step.DeleteSnapshot{
				Base: cleanupBase(
					step.NewID("delete", o.location.Region, v.stepName()),
					o.location,
					source.ref,
					copySteps,
					unshared,
				),
				Snapshot: source.ref,
				Device:   v.device(),
			})
		}
	}

	unshareSteps = append(unshareSteps, b.revokeImageShare(o)...)
	b.deregisterStagedImage(o, unshareSteps)
}

// cleanupBase returns the base of a step that deletes a staged resource. It runs after all copies have succeeded and
// all permissions are removed.
func cleanupBase(
	id distribution.StepID,
	at distribution.Location,
	staged step.Ref,
	copySteps, unshareSteps []distribution.StepID,
) step.Base {
	base := step.Base{
		ID:               id,
		Location:         at,
		DependsOn:        slices.Clone(copySteps),
		RunsAfter:        unshareSteps,
		ExpectedDuration: callTime,
	}
	if staged.From != "" {
		base.DependsOn = append([]distribution.StepID{staged.From}, copySteps...)
	}
	return base
}

// deregisterStagedImage adds the step that deregisters the staged image after its last copy.
func (b *builder) deregisterStagedImage(o *preparedSource, unshareSteps []distribution.StepID) {
	if !o.stagesImage || o.imageRef.ref == (step.Ref{}) {
		return
	}

	var copySteps []distribution.StepID
	for _, v := range o.items {
		copySteps = append(copySteps, o.copySteps[v.id()]...)
	}

	slices.Sort(copySteps)
	b.add(&step.DeregisterImage{
		Base: cleanupBase(
			step.NewID("deregister", o.location.Region, wholeImage),
			o.location,
			o.imageRef.ref,
			slices.Compact(copySteps),
			unshareSteps,
		),
		Image:         o.imageRef.ref,
		WithSnapshots: true,
		Expected:      expectedImage(b.facts, b.imageNames[o.location]),
	})
}

// revokeImageShare adds the step that removes the launch permissions of the last batch of a staged image. Earlier
// batches have lost theirs before.
func (b *builder) revokeImageShare(o *preparedSource) []distribution.StepID {
	if !o.stagesImage || len(o.imageBatches) == 0 {
		return nil
	}
	return b.unshareImageBatch(o, len(o.imageBatches)-1)
}

// unshareSnapshot adds the steps that remove the permissions on a staged snapshot.
func (b *builder) unshareSnapshot(
	o *preparedSource,
	v sourceVolume,
	copySteps []distribution.StepID,
) []distribution.StepID {
	var unshareSteps []distribution.StepID
	for _, used := range o.snapshots[v.id()].ofDevices(v.volume) {
		unshareSteps = append(unshareSteps, b.unshareDevice(o, v, used, copySteps)...)
	}
	return unshareSteps
}

// unshareDevice adds the steps that remove the permissions on the snapshot of one device.
func (b *builder) unshareDevice(
	o *preparedSource,
	v sourceVolume,
	used deviceRef,
	copySteps []distribution.StepID,
) []distribution.StepID {
	var unshareSteps []distribution.StepID
	for i, chunk := range slices.Collect(slices.Chunk(o.temporaryAccounts[v.id()], maxShared)) {
		newStep := &step.UnshareSnapshot{
			Base: step.Base{
				ID:               step.NewID("withdraw", o.location.Region, used.stepName),
				Location:         o.location,
				DependsOn:        []distribution.StepID{used.ref.From},
				RunsAfter:        slices.Concat(copySteps, unshareSteps),
				ExpectedDuration: callTime,
			},
			Snapshot: used.ref,
			Device:   used.device,
			Accounts: chunk,
		}

		if i > 0 {
			newStep.ID += distribution.StepID(fmt.Sprintf("/%d", i+1))
		}

		unshareSteps = append(unshareSteps, b.add(newStep))
	}

	return unshareSteps
}

const callTime = time.Second // rough duration of a call
