// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	encryptedami "github.com/encrypted-ami/packer-plugin-encrypted-ami/post-processor/encrypted-ami"
)

// distributionCase is a small distribution: an image in the home Region, perhaps a second one of the same artifact, and
// the destinations.
type distributionCase struct {
	gib     []int64           // of the volumes
	asIs    map[string][]bool // by Region with an image: whether each volume's snapshot is under the source's key
	keys    []string          // Regions in which the source account has its key
	foreign map[string]int    // accounts by Region
	own     []string          // Regions of the source account
}

func drawCase(random *rand.Rand) distributionCase {
	a := distributionCase{asIs: map[string][]bool{}, foreign: map[string]int{}}
	for _, region := range regions {
		if random.IntN(3) > 0 {
			a.keys = append(a.keys, region)
		}
		a.foreign[region] = random.IntN(3)
		if random.IntN(4) == 0 {
			a.own = append(a.own, region)
		}
	}
	images := regions[:1]
	if random.IntN(3) == 0 {
		images = regions[:2]
	}
	// a builder's copy in another Region has all volumes under one key, or all unencrypted
	encrypted := random.IntN(2) == 0
	for range 1 + random.IntN(3) {
		a.gib = append(a.gib, 1+random.Int64N(500))
		for _, region := range images {
			own := region == home && random.IntN(2) == 0 || region != home && encrypted
			a.asIs[region] = append(a.asIs[region], own && slices.Contains(a.keys, region))
		}
	}
	return a
}

// drawnCase returns the distribution of a seed.
func drawnCase(seed int) distributionCase { return drawCase(rand.New(rand.NewPCG(uint64(seed), 1))) }

// isEmpty reports whether there is no destination.
func (a distributionCase) isEmpty() bool {
	return len(a.own) == 0 && !slices.ContainsFunc(regions, func(region string) bool { return a.foreign[region] > 0 })
}

// closed reports whether a Region has an image and destinations, but no key to share the image.
func (a distributionCase) closed() bool {
	return slices.ContainsFunc(regions, func(region string) bool {
		return a.asIs[region] != nil && a.foreign[region] > 0 && !slices.Contains(a.keys, region)
	})
}

// moved is the amount of data that copies transfer, in GiB.
type moved struct{ across, copied int64 }

func (m moved) plus(o moved) moved { return moved{m.across + o.across, m.copied + o.copied} }

func (m moved) compare(o moved) int {
	return cmp.Or(cmp.Compare(m.across, o.across), cmp.Compare(m.copied, o.copied))
}

// copyOf returns the data that one copy transfers.
func copyOf(gib int64, from, to string) moved {
	if from == to {
		return moved{0, gib}
	}
	return moved{gib, gib}
}

// stages returns the Regions where snapshots can be staged: those with a key, and an image or a destination.
func (a distributionCase) stages() []string {
	return slices.DeleteFunc(
		slices.Clone(a.keys),
		func(region string) bool { return a.asIs[region] == nil && a.foreign[region] == 0 },
	)
}

// destination is one account in one Region.
type destination struct {
	region string
	own    bool // of the source account
}

func (a distributionCase) destinations() (all []destination) {
	for _, region := range regions {
		for range a.foreign[region] {
			all = append(all, destination{region: region})
		}
		if slices.Contains(a.own, region) {
			all = append(all, destination{region, true})
		}
	}
	return all
}

// least returns the data that the cheapest of all routes transfers. Each destination copies each volume from a Region
// where it is staged or can be shared. A volume is staged once in a Region, from any image. The owner may also copy all
// originals.
func (a distributionCase) least() (sum moved, open bool) {
	for v, gib := range a.gib {
		best, found := a.leastOf(v, gib)
		if !found {
			return sum, false
		}
		sum = sum.plus(best)
	}
	return sum, true
}

func (a distributionCase) leastOf(v int, gib int64) (best moved, open bool) {
	all, stages, staged := a.destinations(), a.stages(), map[string]bool{}
	best = moved{1 << 60, 1 << 60}
	var choose func(i int, so moved)
	choose = func(i int, so moved) {
		if so.plus(moved{0, gib * int64(len(all)-i)}).compare(best) >= 0 {
			return
		}
		if i == len(all) {
			best, open = so, true
			return
		}
		d := all[i]
		for image, asIs := range a.asIs {
			if d.own || asIs[v] {
				choose(i+1, so.plus(copyOf(gib, image, d.region)))
			}
		}
		for _, from := range stages {
			cost := copyOf(gib, from, d.region)
			if staged[from] {
				choose(i+1, so.plus(cost))
				continue
			}
			staged[from] = true
			for image := range a.asIs {
				choose(i+1, so.plus(cost).plus(copyOf(gib, image, from)))
			}
			staged[from] = false
		}
	}
	choose(0, moved{})
	return best, open
}

// fastest returns when the copies of the fastest routes end. Each destination copies each volume from an original that
// can be shared, or from a Region where it is staged. The image is the same for all Regions without one. The owner
// copies the originals.
func (a distributionCase) fastest() time.Duration {
	best := time.Duration(1 << 62)
	for image := range a.asIs {
		last, open := time.Duration(0), true
		for _, d := range a.destinations() {
			from := image
			if a.asIs[d.region] != nil {
				from = d.region
			}
			for v, gib := range a.gib {
				copies := time.Duration(1)
				if !d.own && !a.asIs[from][v] {
					copies, open = 2, open && len(a.stages()) > 0
				}
				last = max(last, copies*copyTime(gib))
			}
		}
		if open {
			best = min(best, last)
		}
	}
	return best
}

// copyTime returns how long the plan expects a copy to take.
func copyTime(gib int64) time.Duration { return time.Minute + time.Duration(gib)*8*time.Second }

// planned holds the data that the copies of a plan transfer, and when they are expected to end.
type planned struct {
	moved
	ends time.Duration
}

// plan returns what the plan does if it prefers the fastest routes, or the least transfer.
func (a distributionCase) plan(forTime bool) (sum planned, refused bool) {
	req := a.request()
	req.OptimizeForTime = forTime
	p := plan.Assess(req, a.facts()).Decide()
	ends := map[distribution.StepID]time.Duration{}
	for _, s := range p.Steps {
		for _, id := range s.Meta().DependsOn {
			ends[s.Meta().ID] = max(ends[s.Meta().ID], ends[id])
		}
		if c, is := s.(*step.CopySnapshot); is {
			sum.moved = sum.plus(copyOf(c.GiB, c.FromRegion, c.Location.Region))
			ends[c.ID] += c.ExpectedDuration
			sum.ends = max(sum.ends, ends[c.ID])
		}
	}
	return sum, p.Refused()
}

func imageID(i int) string { return fmt.Sprintf("ami-0%016x", i) }

func (a distributionCase) request() distribution.Request {
	req := distribution.Request{
		KMSKeyID: alias,
		TestCopy: new(bool),
		RunID:    "run-1",
		Build:    distribution.Build{Region: home},
	}
	for i, region := range regions {
		if a.asIs[region] != nil {
			req.Images = append(req.Images, distribution.SourceImage{Region: region, ImageID: imageID(i)})
		}
		var accounts []string
		for i := range a.foreign[region] {
			accounts = append(accounts, account(i))
		}
		if slices.Contains(a.own, region) {
			accounts = append(accounts, source)
		}
		if len(accounts) > 0 {
			req.Targets = append(
				req.Targets,
				distribution.Target{
					Name:       region,
					AccountIDs: accounts,
					Regions:    []string{region},
					Roles:      []distribution.Role{{RoleName: roleName}},
					KMSKeyID:   "alias/own",
				},
			)
		}
	}
	return req
}

// image returns the image of a Region.
func (a distributionCase) image(i int, region string) distribution.Image {
	image := distribution.Image{
		Image: &ec2types.Image{
			ImageId:            aws.String(imageID(i)),
			Name:               aws.String("golden 1"),
			OwnerId:            aws.String(source),
			State:              ec2types.ImageStateAvailable,
			RootDeviceType:     ec2types.DeviceTypeEbs,
			RootDeviceName:     aws.String("/dev/xvda"),
			Architecture:       ec2types.ArchitectureValuesArm64,
			VirtualizationType: ec2types.VirtualizationTypeHvm,
		},
		Snapshots: map[string]distribution.Snapshot{},
	}
	for v, gib := range a.gib {
		id := fmt.Sprintf("snap-0%08x%08x", i, v)
		s := ec2types.Snapshot{
			SnapshotId: &id,
			VolumeSize: aws.Int32(int32(gib)),
			State:      ec2types.SnapshotStateCompleted,
			Encrypted:  &a.asIs[region][v],
			OwnerId:    aws.String(source),
		}
		if *s.Encrypted {
			s.KmsKeyId = key(source, region).Metadata.Arn
		}
		image.Snapshots[id] = distribution.Snapshot{Snapshot: s}
		image.Image.BlockDeviceMappings = append(image.Image.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String(device(v)), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &id, VolumeSize: s.VolumeSize},
		})
	}
	return image
}

func device(v int) string { return "/dev/xvd" + string(rune('a'+v)) }

func (a distributionCase) facts() distribution.Facts {
	facts := distribution.Facts{
		Source: distribution.CallerIdentity{Account: source, Partition: "aws"},
		Images: map[string]distribution.Image{},
		Keys:   map[distribution.Location]map[string]distribution.Key{},
		Sites:  map[distribution.Location]distribution.DestinationFacts{},
	}
	for i, region := range regions {
		if a.asIs[region] != nil {
			facts.Images[region] = a.image(i, region)
		}
		here := distribution.Location{Account: source, Region: region}
		facts.Keys[here] = map[string]distribution.Key{"alias/own": key(source, region)}
		if slices.Contains(a.keys, region) {
			facts.Keys[here][alias] = key(source, region)
			facts.Keys[here][*key(source, region).Metadata.Arn] = key(source, region)
		}
		facts.Sites[here] = distribution.DestinationFacts{Identity: facts.Source}
		for i := range a.foreign[region] {
			at := distribution.Location{Account: account(i), Region: region}
			facts.Keys[at] = map[string]distribution.Key{"alias/own": key(at.Account, region)}
			facts.Sites[at] = distribution.DestinationFacts{
				Identity: distribution.CallerIdentity{Account: at.Account, Partition: "aws"},
			}
		}
	}
	return facts
}

func key(account, region string) distribution.Key {
	return distribution.Key{Metadata: &kmstypes.KeyMetadata{
		Arn:        aws.String("arn:aws:kms:" + region + ":" + account + ":key/own"),
		KeyState:   kmstypes.KeyStateEnabled,
		KeyManager: kmstypes.KeyManagerTypeCustomer,
		KeySpec:    kmstypes.KeySpecSymmetricDefault,
		KeyUsage:   kmstypes.KeyUsageTypeEncryptDecrypt,
	}}
}

// run builds the images of the case in a simulated AWS and runs the plugin once for each of cases. It returns the
// copies of each run, without the test copies, which are empty.
func (a distributionCase) run(t *testing.T, seed uint64, cases ...distributionCase) (made [][]awssim.CopySchedule) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		var copies []awssim.CopySchedule
		world := awssim.New(
			awssim.WithSeed(seed),
			awssim.WithCopyScheduleFunc(func(d awssim.CopySchedule) { copies = append(copies, d) }),
		)
		f := fixture{course: &course{}}
		images, volumes := map[string]string{}, map[string]bool{}
		if err := world.Build(func(b *awssim.Builder) error { return a.build(b, &f, images, volumes) }); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, region := range slices.Sorted(maps.Keys(images)) {
			ids = append(ids, region+":"+images[region])
		}
		for i, next := range cases {
			copies = nil
			p := encryptedami.Through(world, seed+uint64(i))
			for range 2 {
				if err := p.Configure(map[string]any{"packer_build_name": "golden"}, next.options(f)); err != nil {
					t.Fatal(err)
				}
			}
			ui := &packersdk.BasicUi{Writer: io.Discard, ErrorWriter: io.Discard}
			if _, _, _, err := p.PostProcess(t.Context(), ui, &packersdk.MockArtifact{
				BuilderIdValue: "mitchellh.amazonebs", IdValue: strings.Join(ids, ","),
				StateValues: map[string]any{
					"generated_data": map[string]any{"PackerRunUUID": fmt.Sprintf("run-%d", i)},
				},
			}); err != nil {
				t.Fatalf("seed %d: %v: %+v", seed, err, next)
			}
			made = append(made, slices.DeleteFunc(copies, func(c awssim.CopySchedule) bool {
				volumes[c.SnapshotID] = volumes[c.SourceID]
				return !volumes[c.SourceID]
			}))
		}
	})
	return made
}

// all returns the data that the copies transferred.
func all(copies []awssim.CopySchedule) (sum moved) {
	for _, c := range copies {
		sum = sum.plus(copyOf(int64(c.GiB), c.FromRegion, c.Region))
	}
	return sum
}

// build creates the resources. It adds the IDs of the images by Region and the IDs of their snapshots to the maps.
func (a distributionCase) build(
	b *awssim.Builder, f *fixture, images map[string]string, snapshots map[string]bool,
) error {
	for _, region := range a.keys {
		if err := createKey(kms.NewFromConfig(b.Config(source, region)), aws.String(keyPolicy)); err != nil {
			return err
		}
	}
	roles := map[string]bool{}
	for _, d := range a.named() {
		if err := createKey(kms.NewFromConfig(b.Config(d.account, d.region)), nil); err != nil {
			return err
		}
		if roles[d.account] {
			continue
		}
		roles[d.account] = true
		if err := createRole(iam.NewFromConfig(b.Config(d.account, home))); err != nil {
			return err
		}
	}
	if err := f.createUser(iam.NewFromConfig(b.Config(source, home))); err != nil {
		return err
	}
	for _, region := range slices.Sorted(maps.Keys(a.asIs)) {
		if err := a.createImage(b, region, images, snapshots); err != nil {
			return err
		}
	}
	return nil
}

// location is an account that is a destination in a Region.
type location struct{ account, region string }

func (a distributionCase) named() (all []location) {
	for _, region := range regions {
		for i := range a.foreign[region] {
			all = append(all, location{account(i), region})
		}
	}
	return all
}

func (a distributionCase) createImage(
	b *awssim.Builder,
	region string,
	images map[string]string,
	snapshots map[string]bool,
) error {
	ctx, client := context.Background(), ec2.NewFromConfig(b.Config(source, region))
	var devices []ec2types.BlockDeviceMapping
	for v, gib := range a.gib {
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(region + "a"), Size: aws.Int32(int32(gib))}
		if a.asIs[region][v] {
			in.Encrypted, in.KmsKeyId = aws.Bool(true), aws.String(alias)
		}
		volume, err := client.CreateVolume(ctx, in)
		if err != nil {
			return err
		}
		b.Wait(time.Minute)
		snapshot, err := client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		if err != nil {
			return err
		}
		snapshots[*snapshot.SnapshotId] = true
		devices = append(
			devices,
			ec2types.BlockDeviceMapping{
				DeviceName: aws.String(device(v)),
				Ebs:        &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId},
			},
		)
	}
	b.Wait(4 * time.Hour)
	made, err := client.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:                aws.String("golden 1"),
		RootDeviceName:      aws.String(device(0)),
		VirtualizationType:  aws.String("hvm"),
		Architecture:        ec2types.ArchitectureValuesX8664,
		EnaSupport:          aws.Bool(true),
		BlockDeviceMappings: devices,
	})
	if err == nil {
		images[region] = *made.ImageId
	}
	return err
}

// options returns the template's options, with a target block for each Region, and for the source account.
func (a distributionCase) options(f fixture) map[string]any {
	var targets []any
	for _, region := range regions {
		var accounts []any
		for i := range a.foreign[region] {
			accounts = append(accounts, account(i))
		}
		if len(accounts) > 0 {
			targets = append(targets, map[string]any{
				"name": region, "account_ids": accounts, "regions": []any{region}, "kms_key_id": alias,
				"assume_role": []any{
					map[string]any{"role_arn": "arn:aws:iam::{{ .AccountId }}:role/" + roleName, "external_id": externalID},
				},
			})
		}
		if slices.Contains(a.own, region) {
			targets = append(
				targets,
				map[string]any{
					"name":        "own " + region,
					"account_ids": []any{source},
					"regions":     []any{region},
					"kms_key_id":  distribution.DefaultKey,
				},
			)
		}
	}
	return map[string]any{
		"output_directory": "",
		"access_key":       *f.key.AccessKey.AccessKeyId,
		"secret_key":       *f.key.AccessKey.SecretAccessKey,
		"kms_key_id":       alias,
		"target":           targets,
	}
}

// worst is the highest ratio of the transferred data to that of the cheapest route, and of the expected time to that of
// the fastest route.
type worst struct{ Across, Copied, Time float64 }

// add adds the ratio of a distribution. A ratio below 1 means that least does not consider all routes.
func (w *worst) add(got, least moved) error {
	if got.compare(least) < 0 {
		return fmt.Errorf("%+v were moved, less than the least of all routes: %+v", got, least)
	}
	w.Across, w.Copied = max(w.Across, over(got.across, least.across)), max(w.Copied, over(got.copied, least.copied))
	return nil
}

// over returns a ratio. It is 1 if both values are 0.
func over(got, least int64) float64 {
	if got == least {
		return 1
	}
	return float64(got) / float64(least)
}

// ofPlans compares the plans of random small distributions with the best routes. It returns an error if a plan is
// refused although there is a route.
func ofPlans(worlds int) (w worst, err error) {
	for seed := range worlds {
		a := drawnCase(seed)
		if a.isEmpty() {
			continue
		}
		got, refused := a.plan(false)
		fast, _ := a.plan(true)
		least, open := a.least()
		if refused != (a.closed() || !open) {
			return w, fmt.Errorf("seed %d: refused: %t, a route is open: %t: %+v", seed, refused, open, a)
		}
		if refused {
			continue
		}
		if err := w.add(got.moved, least); err != nil {
			return w, fmt.Errorf("seed %d: %w: %+v", seed, err, a)
		}
		if fast.ends < a.fastest() || fast.ends > got.ends {
			return w, fmt.Errorf("seed %d: the fastest routes take %v, those for time %v, those for cost %v: %+v",
				seed, a.fastest(), fast.ends, got.ends, a)
		}
		w.Time = max(w.Time, over(int64(fast.ends), int64(a.fastest())))
	}
	return w, nil
}

// ofRuns compares the copies of whole runs of the same distributions.
func ofRuns(t *testing.T, runs int) (w worst) {
	t.Helper()
	for seed := 0; runs > 0; seed++ {
		a := drawnCase(seed)
		least, open := a.least()
		if a.isEmpty() || a.closed() || !open {
			continue
		}
		runs--
		if err := w.add(all(a.run(t, uint64(seed), a)[0]), least); err != nil {
			t.Errorf("seed %d: %v: %+v", seed, err, a)
		}
	}
	return w
}

func TestRoute_cheapest(t *testing.T) {
	planned, err := ofPlans(2000)
	if err != nil {
		t.Fatal(err)
	}
	if planned != (worst{1, 1, 1}) {
		t.Errorf("plans: %+v of the best of all routes", planned)
	}
	if ran := ofRuns(t, 20); ran != (worst{Across: 1, Copied: 1}) {
		t.Errorf("runs: %+v of the least of all routes", ran)
	}
}

// With the second run's targets alone, the route to the far Region would begin at the image of the home Region. The
// copies of the first run exist, and began at the other image.
func TestRoute_moreTargets(t *testing.T) {
	near, far := regions[1], regions[3]
	world := distributionCase{
		gib:     []int64{100},
		asIs:    map[string][]bool{home: {false}, near: {false}},
		keys:    regions,
		foreign: map[string]int{home: 1, near: 1, far: 1},
	}
	first := world
	first.foreign = map[string]int{near: 1, far: 1}
	made := world.run(t, 1, first, world)
	if got, least := all(made[0]), (moved{100, 300}); got != least {
		t.Errorf("the first run moves %+v, the least is %+v", got, least)
	}
	if got, least := all(made[1]), (moved{0, 200}); got != least {
		t.Errorf("the second run moves %+v, for its one new target it is %+v: %+v", got, least, made[1])
	}
}
