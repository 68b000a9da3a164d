// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// expected returns the expected duration of all steps. Each step starts as soon as its dependencies have ended and
// its queue has capacity. The longest remaining path goes first, as in the runner.
func expected(steps []step.Step) time.Duration {
	remaining := step.Remaining(steps)
	order := slices.Clone(steps) // stays sorted by dependencies, because a dependency has at least as much remaining
	slices.SortStableFunc(order, func(a, b step.Step) int {
		return cmp.Compare(remaining[b.Meta().ID], remaining[a.Meta().ID])
	})

	ends := map[distribution.StepID]time.Duration{}
	queues := map[string]*queueSimulation{}
	copied := map[original]time.Duration{}
	var last time.Duration
	for _, s := range order {
		b := s.Meta()
		source, isTimed := originalOf(s)
		start := copied[source] // zero without time-based copy
		for _, id := range slices.Concat(b.DependsOn, b.RunsAfter) {
			start = max(start, ends[id])
		}

		if b.Queue != "" {
			if queues[b.Queue] == nil {
				queues[b.Queue] = &queueSimulation{}
			}
			start = queues[b.Queue].add(b, start)
		}

		ends[b.ID] = start + b.ExpectedDuration
		if isTimed {
			copied[source] = ends[b.ID]
		}

		last = max(last, ends[b.ID])
	}

	return last
}

// queueSimulation holds the steps of a queue that run when the last one starts.
type queueSimulation struct {
	lastStart time.Duration
	running   []queuedStep
}

type queuedStep struct {
	rate int
	ends time.Duration
}

// add returns the start time of a step that is ready at a given time. Steps start in the order in which they are added.
func (q *queueSimulation) add(b *step.Base, ready time.Duration) time.Duration {
	for q.lastStart = max(q.lastStart, ready); ; {
		q.running = slices.DeleteFunc(q.running, func(s queuedStep) bool { return s.ends <= q.lastStart })
		rate := 0
		for _, s := range q.running {
			rate += s.rate
		}
		if b.FitsInQueue(step.QueueLimit(b.Queue), len(q.running), rate) {
			q.running = append(q.running, queuedStep{b.Rate, q.lastStart + b.ExpectedDuration})
			return q.lastStart
		}
		next := slices.MinFunc(q.running, func(x, y queuedStep) int { return cmp.Compare(x.ends, y.ends) })
		q.lastStart = next.ends
	}
}

// calls returns the mutating actions of a step. They belong to the service of its first permission, because EC2
// makes the KMS calls itself.
func calls(s step.Step) []string {
	permissions := s.Permissions()
	if len(permissions) == 0 {
		return nil
	}

	service, _, _ := strings.Cut(permissions[0].Action, ":")
	var actions []string
	for _, r := range permissions {
		name, isOwnService := strings.CutPrefix(r.Action, service+":")
		isOwnService = isOwnService || r.Action == "ec2:CreateTags" // it signs a resource that another service created
		if isOwnService && !readOnlyAction.MatchString(name) && !slices.Contains(actions, r.Action) {
			actions = append(actions, r.Action)
		}
	}

	if s.Meta().ResumeID != "" {
		return actions[1:] // an earlier run has made the first call
	}

	return actions
}

var readOnlyAction = regexp.MustCompile(`^(Describe|Get|List)`)

// estimate returns the cost and duration of steps.
func estimate(steps []step.Step) Estimate {
	e, deleted := Estimate{Calls: map[string]int{}}, deletedCopies(steps)
	for _, s := range steps {
		for _, action := range calls(s) {
			e.Calls[action]++
		}

		if s.Meta().ResumeID != "" { // an earlier run has paid for it
			continue
		}

		if c, ok := s.(step.Copying); ok && s.Role() != step.CopiesTest { // a test copy is deleted at once
			e.addCopy(s.Meta(), c.Copies(), deleted[s.Meta().ID])
		}
	}

	e.Takes = expected(steps)
	return e
}

// deletedCopies returns the steps whose copies a later step deletes. The staged image of a share block is permanent.
func deletedCopies(steps []step.Step) map[distribution.StepID]bool {
	deleted := map[distribution.StepID]bool{}
	for _, s := range steps {
		if d, ok := s.(step.Deleting); ok {
			deleted[d.Deletes()] = true
		}
	}
	return deleted
}

// addCopy adds the cost of a copy.
func (e *Estimate) addCopy(b *step.Base, c step.CopyInfo, isDeleted bool) {
	e.Copies += c.Volumes
	e.GiBStored += c.GiB
	if isDeleted {
		e.GiBStaged += c.GiB
	}
	if c.FromRegion != b.Location.Region {
		e.GiBTransferred += c.GiB
	}
	e.USDTimed += float64(c.GiB) * usdPerGiBTimed(c.Minutes)
}
