// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"fmt"
	"testing"
)

// The limits of the figures. What is a ratio is that of the worst seed.
const (
	makespanLimit  = 1.05
	smallLimit     = 1.25 // where a look every 15 s weighs
	fullLimit      = 1.10 // where AWS's limit of copies binds
	throttledLimit = 1.15
	ticksLimit     = 0.5 // of one look at every place in every poll interval
	looksLimit     = 3.5 // for 26 volumes over those for one
	memoryLimit    = 150 // MiB
)

// small is one volume of the least size.
var small = scenario{Targets: 1, Regions: 1, Volumes: 1, GiB: 8}

// full has more copies than AWS admits at once: the source account stages 26 snapshots and copies 26 for itself.
var full = scenario{Targets: 4, Own: true, Regions: 1, Volumes: 26}

// five has to be learned from AWS, and is far less than there are copies: the work of the lane is the bound.
var five = scenario{Targets: 4, Own: true, Regions: 1, Volumes: 26, Limit: 5}

// others finds the lane all but full of somebody else's copies, which end within minutes.
var others = scenario{Targets: 1, Regions: 1, Volumes: 20, GiB: 100, Others: 19}

// throttled has 30 % of all calls refused.
var throttled = scenario{Targets: 10, Regions: 1, Volumes: 4, Throttled: 0.3}

// plain is the scenario of every day.
func plain(targets, regions int) scenario {
	return scenario{Targets: targets, Regions: regions, Volumes: 4}
}

// looks has an image of one volume or of many.
func looks(volumes int) scenario { return scenario{Targets: 4, Regions: 1, Volumes: volumes, GiB: 100} }

func TestTheMakespanStaysCloseToTheBound(t *testing.T) {
	for _, c := range []struct {
		scenario
		limit float64
	}{
		{plain(1, 1), makespanLimit}, {plain(1, 4), makespanLimit}, {plain(10, 1), makespanLimit}, {plain(10, 4), makespanLimit},
		{small, smallLimit}, {full, fullLimit}, {others, fullLimit}, {throttled, throttledLimit},
		{scenario{Targets: 10, Regions: 1, Volumes: 4, Bare: true}, makespanLimit},
	} {
		for seed := range uint64(3) {
			m := run(t, c.scenario, seed+1).measured()
			if m.ratio() > c.limit {
				t.Errorf("%+v, seed %d: %v are %.3f times the bound, the limit is %.2f", c.scenario, seed+1, m.Took, m.ratio(), c.limit)
			}
			if m.MutatingExcess != 0 {
				t.Errorf("%+v, seed %d: %d calls too many or too few: %v", c.scenario, seed+1, m.MutatingExcess, m.Changed)
			}
			if c.scenario == full && m.Crowded > 0 {
				t.Errorf("seed %d: AWS had no room for %d copies, although the limit of 20 is known", seed+1, m.Crowded)
			}
		}
	}
}

// A limit that AWS tells only when it refuses costs little more than the limit itself.
func TestALimitThatIsLearnedIsUsedToTheFull(t *testing.T) {
	for seed := range uint64(3) {
		if m := run(t, five, seed+1).measured(); float64(m.Took)/float64(m.Listed) > makespanLimit || m.MutatingExcess != 0 {
			t.Errorf("seed %d: %v, the copies alone take %v; %d calls too many or too few", seed+1, m.Took, m.Listed, m.MutatingExcess)
		}
	}
}

func TestASeedRepeatsARunCallByCall(t *testing.T) {
	one, two := run(t, plain(3, 2), 7).measured(), run(t, plain(3, 2), 7).measured()
	if one, two := fmt.Sprintf("%+v", one), fmt.Sprintf("%+v", two); one != two {
		t.Errorf("the first run: %s\nthe second: %s", one, two)
	}
}

// A look shows all copies of an account to a Region: 26 volumes take more looks than one only because their run is longer and, where copies wait for
// room, looked at closely.
func TestLooksDoNotMultiplyWithVolumes(t *testing.T) {
	few, many := run(t, looks(1), 1).measured(), run(t, looks(26), 1).measured()
	if ratio := float64(many.Looks) / float64(few.Looks); ratio > looksLimit {
		t.Errorf("%d looks for one volume, %d for 26", few.Looks, many.Looks)
	}
}
