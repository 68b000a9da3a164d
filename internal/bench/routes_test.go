// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// atlas is a small world as plan sees it: an image at home, and who shall have it where.
type atlas struct {
	gib     []int64        // of the volumes
	asIs    []bool         // the volume's snapshot is under the source's key already
	keys    []string       // Regions in which the source account has its key, home among them
	foreign map[string]int // accounts by Region
	own     []string       // Regions of the source account
}

func drawAtlas(random *rand.Rand) atlas {
	a := atlas{keys: []string{home}, foreign: map[string]int{}}
	for range 1 + random.IntN(3) {
		a.gib, a.asIs = append(a.gib, 1+random.Int64N(500)), append(a.asIs, random.IntN(2) == 0)
	}
	for i, region := range regions {
		if i > 0 && random.IntN(3) > 0 {
			a.keys = append(a.keys, region)
		}
		a.foreign[region] = random.IntN(3)
		if random.IntN(4) == 0 {
			a.own = append(a.own, region)
		}
	}
	return a
}

// moved is what copies move, in GiB.
type moved struct{ across, copied int64 }

func (m moved) plus(o moved) moved { return moved{m.across + o.across, m.copied + o.copied} }

func (m moved) compare(o moved) int {
	return cmp.Or(cmp.Compare(m.across, o.across), cmp.Compare(m.copied, o.copied))
}

// copyOf is what one copy moves.
func copyOf(gib int64, from, to string) moved {
	if from == to {
		return moved{0, gib}
	}
	return moved{gib, gib}
}

// least goes through all routes: every destination may copy each volume from any Region in which the source account has a key, or can share
// the snapshot as it is. What is copied from has to be staged there once. The owner may copy the original as well.
func (a atlas) least() (sum moved) {
	for v, gib := range a.gib {
		type destination struct {
			region string
			own    bool
		}
		var all []destination
		for _, region := range regions {
			for range a.foreign[region] {
				all = append(all, destination{region: region})
			}
			if slices.Contains(a.own, region) {
				all = append(all, destination{region, true})
			}
		}
		best := moved{1 << 60, 1 << 60}
		var choose func(i int, staged map[string]bool, so moved)
		choose = func(i int, staged map[string]bool, so moved) {
			if so.compare(best) >= 0 {
				return
			}
			if i == len(all) {
				best = so
				return
			}
			d := all[i]
			if d.own || a.asIs[v] {
				choose(i+1, staged, so.plus(copyOf(gib, home, d.region)))
			}
			for _, from := range a.keys {
				before := staged[from]
				cost := copyOf(gib, from, d.region)
				if !before {
					cost = cost.plus(copyOf(gib, home, from))
				}
				staged[from] = true
				choose(i+1, staged, so.plus(cost))
				staged[from] = before
			}
		}
		choose(0, map[string]bool{}, moved{})
		sum = sum.plus(best)
	}
	return sum
}

// planned is what the plan's copies move.
func (a atlas) planned() (sum moved, err error) {
	p := plan.Decide(a.request(), a.facts())
	if p.Refused() {
		return sum, fmt.Errorf("refused: %+v", p.Findings)
	}
	for _, s := range p.Steps {
		if c, is := s.(*plan.CopySnapshot); is {
			sum = sum.plus(copyOf(c.GiB, c.FromRegion, c.At.Region))
		}
	}
	return sum, nil
}

const imageID = "ami-0aaaaaaaaaaaaaaaa"

func (a atlas) request() plan.Request {
	req := plan.Request{Images: []plan.SourceImage{{Region: home, ImageID: imageID}}, KMSKeyID: alias, Canary: new(bool), Build: plan.Build{Region: home, RunID: "run-1"}}
	for _, region := range regions {
		var accounts []string
		for i := range a.foreign[region] {
			accounts = append(accounts, account(i))
		}
		if slices.Contains(a.own, region) {
			accounts = append(accounts, source)
		}
		if len(accounts) > 0 {
			req.Targets = append(req.Targets, plan.Target{Name: region, AccountIDs: accounts, Regions: []string{region}, Roles: []plan.Role{{RoleName: roleName}}, KMSKeyID: "alias/own"})
		}
	}
	return req
}

func (a atlas) facts() plan.Facts {
	image := plan.Image{Image: &ec2types.Image{ImageId: aws.String(imageID), Name: aws.String("golden 1"), OwnerId: aws.String(source), State: ec2types.ImageStateAvailable,
		RootDeviceType: ec2types.DeviceTypeEbs, RootDeviceName: aws.String("/dev/xvda"), Architecture: ec2types.ArchitectureValuesArm64, VirtualizationType: ec2types.VirtualizationTypeHvm},
		Snapshots: map[string]plan.Snapshot{}}
	for i, gib := range a.gib {
		id := fmt.Sprintf("snap-0%016x", i+1)
		s := ec2types.Snapshot{SnapshotId: &id, VolumeSize: aws.Int32(int32(gib)), State: ec2types.SnapshotStateCompleted, Encrypted: &a.asIs[i], OwnerId: aws.String(source)}
		if a.asIs[i] {
			s.KmsKeyId = key(source, home).Metadata.Arn
		}
		image.Snapshots[id] = plan.Snapshot{Snapshot: s}
		image.Image.BlockDeviceMappings = append(image.Image.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String("/dev/xvd" + string(rune('a'+i))), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &id, VolumeSize: s.VolumeSize}})
	}
	facts := plan.Facts{Source: plan.Identity{Account: source, Partition: "aws"}, Images: map[string]plan.Image{home: image}, Keys: map[plan.Place]map[string]plan.Key{}, Sites: map[plan.Place]plan.Site{}}
	for _, region := range regions {
		here := plan.Place{Account: source, Region: region}
		facts.Keys[here] = map[string]plan.Key{"alias/own": key(source, region)}
		if slices.Contains(a.keys, region) {
			facts.Keys[here][alias] = key(source, region)
			facts.Keys[here][*key(source, region).Metadata.Arn] = key(source, region)
		}
		facts.Sites[here] = plan.Site{Identity: facts.Source}
		for i := range a.foreign[region] {
			at := plan.Place{Account: account(i), Region: region}
			facts.Keys[at] = map[string]plan.Key{"alias/own": key(at.Account, region)}
			facts.Sites[at] = plan.Site{Identity: plan.Identity{Account: at.Account, Partition: "aws"}}
		}
	}
	return facts
}

func key(account, region string) plan.Key {
	return plan.Key{Metadata: &kmstypes.KeyMetadata{Arn: aws.String("arn:aws:kms:" + region + ":" + account + ":key/own"), KeyState: kmstypes.KeyStateEnabled,
		KeyManager: kmstypes.KeyManagerTypeCustomer, KeySpec: kmstypes.KeySpecSymmetricDefault, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt}}
}

// ratios compare the plans of small worlds, drawn from seeds, with the best of all routes.
func ratios(worlds int) (across, copied float64, err error) {
	for seed := range worlds {
		a := drawAtlas(rand.New(rand.NewPCG(uint64(seed), 1)))
		if len(a.request().Targets) == 0 {
			continue
		}
		got, err := a.planned()
		if err != nil {
			return 0, 0, fmt.Errorf("seed %d: %w", seed, err)
		}
		least := a.least()
		across, copied = max(across, over(got.across, least.across)), max(copied, over(got.copied, least.copied))
	}
	return across, copied, nil
}

// over is a ratio; of nothing to nothing it is one.
func over(got, least int64) float64 {
	if got == least {
		return 1
	}
	return float64(got) / float64(least)
}

func TestNoRouteIsCheaper(t *testing.T) {
	across, copied, err := ratios(2000)
	if err != nil || across != 1 || copied != 1 {
		t.Errorf("between Regions %.3f of the least, copied %.3f: %v", across, copied, err)
	}
}
