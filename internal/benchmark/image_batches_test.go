// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// entitiesAtOnce is how many launch permissions AWS allows for one image (rule 2.2.5).
const entitiesAtOnce = 1000

// batchedTargets is how many accounts copy the image in batches.
const batchedTargets = 2500

// byImage returns a scenario in which the targets copy the image as a whole. More than 1,000 targets need batches.
func byImage(targets int) scenario {
	return scenario{Targets: targets, Regions: 1, Volumes: 1, GiB: 8, Bare: true, ByImage: true}
}

// entityCount counts the launch permissions of each image from the calls that change them.
type entityCount struct {
	shared map[string]map[string]bool // accounts, by image
	most   int
}

func (e *entityCount) count(r awssim.Record) {
	if r.Action != "ec2:ModifyImageAttribute" || len(r.Changed) == 0 || r.Account != source {
		return
	}
	if e.shared == nil {
		e.shared = map[string]map[string]bool{}
	}
	image := r.Changed[0]
	if e.shared[image] == nil {
		e.shared[image] = map[string]bool{}
	}
	for _, a := range r.Authorizations {
		for _, account := range a.Context["ec2:Add/userId"] {
			e.shared[image][account] = true
		}
		for _, account := range a.Context["ec2:Remove/userId"] {
			delete(e.shared[image], account)
		}
	}
	e.most = max(e.most, len(e.shared[image]))
}

// leftovers counts what is missing and what is left after a run.
type leftovers struct {
	Unserved  int // targets without an image
	Images    int // of the source account, beside the source image
	Snapshots int // of the source account, beside those of the source image
	Shared    int // launch permissions of the source image
}

func (c *course) leftovers(t *testing.T, world *awssim.World) leftovers {
	t.Helper()
	l := leftovers{Images: -1, Snapshots: -c.Volumes}
	client := ec2.NewFromConfig(world.Config(source, home))
	images, err := client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	snapshots, err := client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	l.Images += len(images.Images)
	l.Snapshots += len(snapshots.Snapshots)
	l.Shared = len(c.entities.shared[c.image])
	for number, in := range c.regionsByAccount() {
		for _, region := range in {
			out, err := ec2.NewFromConfig(world.Config(number, region)).DescribeImages(t.Context(),
				&ec2.DescribeImagesInput{Owners: []string{"self"}})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Images) != 1 || out.Images[0].State != "available" {
				l.Unserved++
			}
		}
	}
	return l
}

// imageBatches returns the number of batches that accounts copy an image in.
func imageBatches(accounts int) int { return (accounts + entitiesAtOnce - 1) / entitiesAtOnce }

// necessaryByImage returns the mutating calls of a job that copies the image. All volumes are staged as one image.
func (c course) necessaryByImage() map[string]int {
	batches, chunks := imageBatches(c.Targets), chunks(c.Targets)
	return map[string]int{
		"ec2:CopyImage":                            1 + c.Targets,
		"ec2:ModifyImageAttribute":                 2 * batches,
		"ec2:ModifySnapshotAttribute":              2 * c.Volumes * chunks,
		"ec2:DeregisterImage":                      1, // with its snapshots
		"ec2:CreateTags":                           1 + c.Targets,
		"ec2:EnableImageDeregistrationProtection":  1,
		"ec2:DisableImageDeregistrationProtection": 1,
	}
}

// With one account more than AWS allows launch permissions for, the image is shared in two batches.
func TestImageBatches_oneAccountTooMany(t *testing.T) {
	m := run(t, byImage(entitiesAtOnce+1), 1).measured()
	if m.Entities != entitiesAtOnce || m.Found != (leftovers{}) || m.MutatingExcess != 0 {
		t.Errorf("%d entities at once, left behind: %+v, %d calls too many or too few: %v",
			m.Entities, m.Found, m.MutatingExcess, m.Changed)
	}
}
