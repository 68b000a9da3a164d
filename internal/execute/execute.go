// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Options holds the settings of a run.
type Options struct {
	CopyTimeout  time.Duration // limit for one copy. Zero if there is none
	PollInterval time.Duration // shortest time between two polls of an account and Region
	Evidence     step.Evidence
}

// cleanupTimeout is the time that cleanup steps have after a cancel or a timeout of the run.
const cleanupTimeout = 5 * time.Minute

// Run executes a plan and returns its result. When ctx is done, it creates nothing more, but still revokes shares
// within cleanupTimeout. It calls say from one goroutine at a time, in the order of the events.
func Run(
	ctx context.Context,
	pool *awsclient.Pool,
	p plan.Plan,
	o Options,
	say func(distribution.Event),
) distribution.Result {
	begun := time.Now()
	outcomes := run(ctx, pool, p.Steps, p.Keys, o, say)
	result := resultOf(ctx, pool, p, outcomes)
	result.Begun, result.Ended = begun, time.Now()
	return result
}

func run(
	ctx context.Context,
	pool *awsclient.Pool,
	steps []step.Step,
	keys map[provenance.SourceImage]provenance.SigningKeys,
	o Options,
	say func(distribution.Event),
) step.Outcomes {
	e := &executor{}
	r := newRunner(steps, e.executeStep, say, cleanupTimeout)
	e.shared = step.NewRun(steps, step.RunSettings{
		Clients:               pool,
		Evidence:              o.Evidence,
		Keys:                  keys,
		Emit:                  r.emit,
		IsEventualConsistency: diagnose.IsEventualConsistency,
		IsProtectionHeld:      runrecord.IsProtectionHeld,
		Explain: func(ctx context.Context, s step.Step, err error) *distribution.Finding {
			return explain(ctx, pool, "", s, err)
		},
	})
	e.watcher = newWatcher(ctx, pool, r.slots, r.emit, o)
	r.onQueueSaturated = e.watcher.setSaturated
	defer e.watcher.close()

	outcomes := r.run(ctx)
	for _, outcome := range outcomes {
		outcome.Retained = slices.DeleteFunc(outcome.Retained, func(q distribution.RetainedResource) bool {
			return e.shared.IsDeleted(q.Resource)
		})
	}

	return outcomes
}

// executor executes steps against AWS.
type executor struct {
	shared  *step.Run
	watcher *watcher
}

// executeStep calls the attempt of a step. If a copy is in progress then, the watcher ends the step.
func (e *executor) executeStep(ctx context.Context, j *stepRun, end func(step.Outcome)) {
	if j.attempt == nil {
		j.attempt = step.Start(j.step, step.Env{Run: e.shared, Outcomes: j.outcomes})
	}

	outcome, err := j.attempt.Do(ctx)
	var copying *step.CopyInProgress
	if !errors.As(err, &copying) {
		outcome.Err = err
		end(outcome)
		return
	}

	e.watcher.watch(copying.Group, &watchedCopy{
		id:               copying.ID,
		step:             j.base.ID,
		destination:      copying.Destination,
		expectedDuration: j.base.ExpectedDuration,
		gib:              copying.GiB,
		end: func(status *step.CopyStatus, err error) {
			endOnPanic(end, func() {
				outcome, err := copying.Ended(status, err)
				outcome.Err = err
				end(outcome)
			})
		},
	})
}
