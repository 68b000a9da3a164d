// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// expected is how long steps take if each takes what it is expected to, and begins as soon as its lane has room: the longest remaining path first, as
// the runner does it. Where nothing waits for room it is the longest path.
func expected(steps []step.Step) time.Duration {
	left := step.Remaining(steps)
	order := slices.Clone(steps) // what a step waits for has no less left, and stands before it
	slices.SortStableFunc(order, func(a, b step.Step) int { return cmp.Compare(left[b.Meta().ID], left[a.Meta().ID]) })
	ends, lanes, copied := map[distribution.StepID]time.Duration{}, map[string]*queueSimulation{}, map[original]time.Duration{}
	var last time.Duration
	for _, s := range order {
		h := s.Meta()
		of, timed := originalOf(s)
		begin := copied[of] // no time where it is no time-based copy
		for _, waited := range [][]distribution.StepID{h.DependsOn, h.RunsAfter} {
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
func (t *queueSimulation) enter(h *step.Base, ready time.Duration) time.Duration {
	for t.begun = max(t.begun, ready); ; {
		t.in = slices.DeleteFunc(t.in, func(v visit) bool { return v.ends <= t.begun })
		rate := 0
		for _, v := range t.in {
			rate += v.rate
		}
		if h.FitsInQueue(step.QueueLimit(h.Queue), len(t.in), rate) {
			t.in = append(t.in, visit{h.Rate, t.begun + h.ExpectedDuration})
			return t.begun
		}
		t.begun = slices.MinFunc(t.in, func(a, b visit) int { return cmp.Compare(a.ends, b.ends) }).ends
	}
}
