// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// imageLanes begins the names of the lanes of image copies: AWS has more room in them than in those of snapshot copies.
const imageLanes = "image/"

// imageLane is where AWS counts concurrent image copies: per account and destination Region (4.1.2).
func imageLane(at Location) string { return imageLanes + at.Account + "/" + at.Region }

// copyLane is where AWS counts concurrent snapshot copies: per account and destination Region (4.1.1).
func copyLane(at Location) string { return "copy/" + at.Account + "/" + at.Region }

// RoomOf is how many copies AWS lets be on their way in a lane at once: of snapshots (4.1.1), of images (4.1.2).
func RoomOf(lane string) int {
	if strings.HasPrefix(lane, imageLanes) {
		return 300
	}
	return 20
}

// RateOfLane is how many MiB a second an account's time-based copies to a Region move at most (4.8.2). AWS counts each Region that they come from
// by itself; the copies of a destination all come from one.
const RateOfLane = 2000

// Admits reports whether there is room in a lane for one more step beside so many that move so much. One that asks alone for more than there is gets
// all of it, and takes longer than it was to.
func (h *Base) Admits(room, steps, rate int) bool {
	return steps < room && (h.Rate == 0 || rate == 0 || rate+h.Rate <= RateOfLane)
}

// expected is how long steps take if each takes what it is expected to, and begins as soon as its lane has room: the longest remaining path first, as
// the runner does it. Where nothing waits for room it is the longest path.
func expected(steps []Step) time.Duration {
	left := Remaining(steps)
	order := slices.Clone(steps) // what a step waits for has no less left, and stands before it
	slices.SortStableFunc(order, func(a, b Step) int { return cmp.Compare(left[b.Meta().ID], left[a.Meta().ID]) })
	ends, lanes, copied := map[StepID]time.Duration{}, map[string]*queueSimulation{}, map[original]time.Duration{}
	var last time.Duration
	for _, s := range order {
		h := s.Meta()
		of, timed := originalOf(s)
		begin := copied[of] // no time where it is no time-based copy
		for _, waited := range [][]StepID{h.DependsOn, h.RunsAfter} {
			for _, id := range waited {
				begin = max(begin, ends[id])
			}
		}
		if h.Queue != "" {
			if lanes[h.Queue] == nil {
				lanes[h.Queue] = &queueSimulation{}
			}
			begin = lanes[h.Queue].enter(h, begin)
		}
		ends[h.ID] = begin + h.ExpectedDuration
		if timed {
			copied[of] = ends[h.ID]
		}
		last = max(last, ends[h.ID])
	}
	return last
}

// traffic is what is in a lane when the last step has entered.
type queueSimulation struct {
	begun time.Duration // of that step
	in    []visit
}

type visit struct {
	rate int
	ends time.Duration
}

// enter is when a step begins that is ready at a time, and comes after those that have entered.
func (t *queueSimulation) enter(h *Base, ready time.Duration) time.Duration {
	for t.begun = max(t.begun, ready); ; {
		t.in = slices.DeleteFunc(t.in, func(v visit) bool { return v.ends <= t.begun })
		rate := 0
		for _, v := range t.in {
			rate += v.rate
		}
		if h.Admits(RoomOf(h.Queue), len(t.in), rate) {
			t.in = append(t.in, visit{h.Rate, t.begun + h.ExpectedDuration})
			return t.begun
		}
		t.begun = slices.MinFunc(t.in, func(a, b visit) int { return cmp.Compare(a.ends, b.ends) }).ends
	}
}
