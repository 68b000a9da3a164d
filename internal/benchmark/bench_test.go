// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package benchmark

import (
	"fmt"
	"testing"
)

// The limits of the figures. Ratios are those of the worst seed.
const (
	makespanLimit  = 1.05
	smallLimit     = 1.25 // polling every 15 s is a large part of the run
	fullLimit      = 1.10 // AWS's limit of concurrent copies applies
	throttledLimit = 1.15
	timeGainLimit  = 0.8 // of the makespan of the routes with the least transfer
	pollShareLimit = 0.5 // of one DescribeSnapshots for each account and Region in each poll interval
	pollingLimit   = 3.5 // calls for 26 volumes over calls for one
	memoryLimit    = 150 // MiB, with the simulated AWS

	largeMemoryLimit = 400 // MiB, without it
)

// small has one volume of the smallest size.
var small = scenario{Targets: 1, Regions: 1, Volumes: 1, GiB: 8}

// full has more copies than AWS allows at once: the source account stages 26 snapshots and copies 26 for itself.
var full = scenario{Targets: 4, Own: true, Regions: 1, Volumes: 26}

// five has a limit of copies that AWS reports only in a refusal. The limit is far below the number of copies.
var five = scenario{Targets: 4, Own: true, Regions: 1, Volumes: 26, Limit: 5}

// others is a run that starts while copies of another process use nearly the whole quota. These end within minutes.
var others = scenario{Targets: 1, Regions: 1, Volumes: 20, GiB: 100, Others: 19}

// throttled refuses 30 % of all calls.
var throttled = scenario{Targets: 10, Regions: 1, Volumes: 4, Throttled: 0.3}

// compared returns the scenario that was also measured with other tools. Its two volumes have the source key.
func compared(targets int) scenario {
	return scenario{Targets: targets, Regions: 1, Volumes: 2, GiB: 8, Shareable: true}
}

// acrossRegions returns a distribution to four Regions of an image that accounts can copy directly, or a staged copy in
// their Region.
func acrossRegions(forTime bool) scenario {
	return scenario{Targets: 40, Regions: 4, Volumes: 4, Shareable: true, ForTime: forTime}
}

// callLimits holds the most calls of a run by number of targets, without those of the run record.
var callLimits = map[int]int{1: 54, 3: 94, 10: 228}

// plain returns the most frequent scenario.
func plain(targets, regions int) scenario {
	return scenario{Targets: targets, Regions: regions, Volumes: 4}
}

// polling returns a scenario with an image of one volume or of many.
func polling(volumes int) scenario {
	return scenario{Targets: 4, Regions: 1, Volumes: volumes, GiB: 100}
}

func TestMakespan_closeToBound(t *testing.T) {
	for _, c := range []struct {
		scenario
		limit float64
	}{
		{
			plain(1, 1),
			makespanLimit,
		},
		{plain(1, 4), makespanLimit},
		{plain(10, 1), makespanLimit},
		{plain(10, 4), makespanLimit},
		{small, smallLimit},
		{full, fullLimit},
		{others, fullLimit},
		{throttled, throttledLimit},
		{scenario{Targets: 10, Regions: 1, Volumes: 4, Bare: true}, makespanLimit},
		{scenario{Targets: 8, Regions: 4, Volumes: 4, Shareable: true}, makespanLimit},
		{scenario{Targets: 8, Regions: 4, Volumes: 4, Shareable: true, ForTime: true}, makespanLimit},
	} {
		for seed := range uint64(3) {
			m := run(t, c.scenario, seed+1).measured()
			if m.ratio() > c.limit {
				t.Errorf(
					"%+v, seed %d: %v are %.3f times the bound, the limit is %.2f",
					c.scenario,
					seed+1,
					m.Took,
					m.ratio(),
					c.limit,
				)
			}
			if m.MutatingExcess != 0 {
				t.Errorf("%+v, seed %d: %d calls too many or too few: %v", c.scenario, seed+1, m.MutatingExcess, m.Changed)
			}
			if c.scenario == full && m.OverLimit > 0 {
				t.Errorf("seed %d: AWS refused %d copies, although the limit of 20 is known", seed+1, m.OverLimit)
			}
		}
	}
}

// A limit that the run learns only from a refusal costs little more time than a known limit.
func TestMakespan_learnedLimit(t *testing.T) {
	for seed := range uint64(3) {
		if m := run(t, five, seed+1).measured(); float64(m.Took)/float64(m.Listed) > makespanLimit || m.MutatingExcess != 0 {
			t.Errorf(
				"seed %d: %v, the copies alone take %v; %d calls too many or too few",
				seed+1,
				m.Took,
				m.Listed,
				m.MutatingExcess,
			)
		}
	}
}

func TestRun_repeatable(t *testing.T) {
	one, two := run(t, plain(3, 2), 7).measured(), run(t, plain(3, 2), 7).measured()
	if one, two := fmt.Sprintf("%+v", one), fmt.Sprintf("%+v", two); one != two {
		t.Errorf("the first run: %s\nthe second: %s", one, two)
	}
}

// A run must not repeat lookups, so its number of calls has a limit.
func TestCalls_comparedJob(t *testing.T) {
	for targets, limit := range callLimits {
		for seed := range uint64(3) {
			m := run(t, compared(targets), seed+1).measured()
			if m.Calls > limit || m.MutatingExcess != 0 {
				t.Errorf("%d targets, seed %d: %d calls, the limit is %d; %d mutating calls too many or too few: %v",
					targets, seed+1, m.Calls, limit, m.MutatingExcess, m.Changed)
			}
			t.Logf("%d targets, seed %d: %d calls", targets, seed+1, m.Calls)
		}
	}
}

// One DescribeSnapshots call returns all copies of an account to a Region. With 26 volumes there are more calls only
// because the run is longer, and because copies that wait for the quota are polled more often.
func TestPolling_manyVolumes(t *testing.T) {
	few, many := 0, 0 // the worst of some seeds, as on the page
	for seed := uint64(1); seed <= 3; seed++ {
		few = max(few, run(t, polling(1), seed).measured().Polls)
		many = max(many, run(t, polling(26), seed).measured().Polls)
	}
	if ratio := float64(many) / float64(few); ratio > pollingLimit {
		t.Errorf("%d calls of DescribeSnapshots for one volume, %d for 26", few, many)
	}
}
