// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package bench

import (
	"maps"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// measured is what is known of a run afterwards.
type measured struct {
	Took           time.Duration  // from the call of PostProcess to its return
	Bound          time.Duration  // what no run can go below
	Calls          int            // of all services; repeats count
	Looks          int            // DescribeSnapshots
	Refused        int            // calls that AWS refused for their number
	Changed        map[string]int // calls that changed something, by action
	MutatingExcess int            // how many of them were not needed
	AtOnce         int            // copies on their way in the fullest lane
}

func (m measured) ratio() float64 { return float64(m.Took) / float64(m.Bound) }

// pollInterval is the default of poll_interval.
const pollInterval = 15 * time.Second

// ticks is the share of its looks that a run made: one for each account and Region, the source's too, in every poll interval.
func (m measured) ticks(s scenario) float64 {
	places := s.Targets + s.Regions
	return float64(m.Looks) / (float64(places) * m.Took.Seconds() / pollInterval.Seconds())
}

func (c course) measured() measured {
	m := measured{Took: c.took, Bound: bound(c.copies), Looks: c.calls["ec2:DescribeSnapshots"], Refused: c.refused["RequestLimitExceeded"] + c.refused["Throttling"] + c.refused["ThrottlingException"],
		Changed: c.changed, MutatingExcess: -c.necessary(), AtOnce: atOnce(c.copies)}
	for _, n := range c.calls {
		m.Calls += n
	}
	for _, n := range c.changed {
		m.MutatingExcess += n
	}
	return m
}

// copiesAtOnce is how many copies AWS lets an account have on their way to a Region (4.1.1).
const copiesAtOnce = 20

type lane struct{ account, region string }

// bound is the time that no run can go below, by the simulated AWS's own draws: of the copies that were made, the longest chain of
// one copy on another, or the work of an account's copies to a Region shared out evenly among as many as AWS admits at once. Calls
// count nothing.
func bound(copies []awssim.Copied) time.Duration {
	took, work := map[string]time.Duration{}, map[lane]time.Duration{}
	for _, c := range copies {
		took[c.SnapshotID] = c.Ends.Sub(c.Begun)
		work[lane{c.Account, c.Region}] += c.Ends.Sub(c.Begun)
	}
	var most time.Duration
	for _, c := range copies {
		most = max(most, took[c.SourceID]+took[c.SnapshotID])
	}
	for _, all := range work {
		most = max(most, all/copiesAtOnce)
	}
	return most
}

// atOnce is how many copies were on their way in the fullest lane.
func atOnce(copies []awssim.Copied) (most int) {
	type change struct {
		at time.Time
		by int
	}
	lanes := map[lane][]change{}
	for _, c := range copies {
		l := lane{c.Account, c.Region}
		lanes[l] = append(lanes[l], change{c.Begun, 1}, change{c.Ends, -1})
	}
	for _, changes := range lanes {
		slices.SortFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
		n := 0
		for _, c := range changes {
			n += c.by
			most = max(most, n)
		}
	}
	return most
}

// sharesACall is how many accounts a sharing call takes (2.1.6).
const sharesACall = 500

// necessary is how many calls that change something the job takes: no one else's image is copied unstaged, because none of its
// snapshots is encrypted; every copy and image is sealed; the source image is protected and let go.
func (c course) necessary() int {
	volumes, accounts := c.Volumes, map[string]int{}
	for number, in := range c.places() {
		for _, region := range in {
			if number != source {
				accounts[region]++
			}
		}
	}
	n := 1 + 2 + 2 // the sealing key; protection and its tag, on and off
	for _, region := range slices.Sorted(maps.Keys(accounts)) {
		shares := (accounts[region] + sharesACall - 1) / sharesACall
		n += volumes * (2 + 2*shares + 1) // staged and sealed; shared, withdrawn; deleted
	}
	if copying := c.Targets * len(accounts); copying > 1 { // canaries: a volume, its snapshot, both sealed, shared, deleted; copies, sealed, deleted
		for _, region := range slices.Sorted(maps.Keys(accounts)) {
			n += 7 + (accounts[region]+sharesACall-1)/sharesACall - 1 + 3*accounts[region]
		}
	}
	return n + c.Targets*(2*volumes+2) // copied and sealed; registered and sealed
}
