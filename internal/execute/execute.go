// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Options holds the settings of a run.
type Options struct {
	CopyTimeout  time.Duration // limit for one copy. Zero if there is none
	PollInterval time.Duration // shortest time between two polls of an account and Region
	Evidence     Evidence
}

// cleanupTimeout is the time that cleanup steps have after a cancel or a timeout of the run.
const cleanupTimeout = 5 * time.Minute

// gracePeriod is how long a creating call may continue after a cancel. Without its response the ID of the resource
// would be lost.
const gracePeriod = 5 * time.Second

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
	done := run(ctx, pool, p.Steps, p.Keys, o, say)
	result := resultOf(ctx, pool, p, done)
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
) map[distribution.StepID]StepOutcome {
	t := &executor{
		pool:     pool,
		evidence: o.Evidence,
		keys:     keys,
		begun:    time.Now(),
		copies:   map[distribution.StepID]*step.CopySnapshot{},
	}

	for _, s := range steps {
		switch s := s.(type) {
		case *step.CopySnapshot:
			t.copies[s.ID] = s
		case *step.CreateGrant:
			t.createdGrants = append(t.createdGrants, s)
		}
	}

	r := newRunner(steps, t.executeStep, say, cleanupTimeout)
	t.watcher = newWatcher(ctx, pool, r.slots, r.emit, o)
	r.onQueueSaturated = t.watcher.setSaturated
	defer t.watcher.close()
	done := r.run(ctx)
	for id, d := range done {
		d.Retained = slices.DeleteFunc(d.Retained, func(q distribution.RetainedResource) bool {
			_, gone := t.deleted.Load(q.Resource)
			return gone
		})
		done[id] = d
	}

	return done
}

// executor executes steps against AWS.
type executor struct {
	pool          *awsclient.Pool
	evidence      Evidence
	keys          map[provenance.SourceImage]provenance.SigningKeys // by source image
	watcher       *watcher
	begun         time.Time
	copies        map[distribution.StepID]*step.CopySnapshot // copy steps of the run
	createdGrants []*step.CreateGrant                        // CreateGrant steps of the run
	deleted       sync.Map                                   // IDs of deleted snapshots, not to report as retained

	mu         sync.Mutex // guards the fields below
	createdIDs []string   // IDs from responses to creating calls
	knownRuns  distribution.Runs
}

// executeStep starts the step's own attempt, or calls the method for its type.
func (t *executor) executeStep(ctx context.Context, j *stepRun, end func(StepOutcome)) {
	if j.state.attempt == nil {
		j.state.attempt = step.Start(j.step, t.env(j))
	}

	if j.state.attempt != nil {
		end(t.attempt(ctx, j))
		return
	}

	switch s := j.step.(type) {
	case *step.CopySnapshot:
		t.copySnapshot(ctx, j, s, end)
	case *step.CopyImage:
		t.copyImage(ctx, j, s, end)
	case *step.ShareSnapshot:
		end(t.shareSnapshot(ctx, j, s))
	case *step.RegisterImage:
		end(t.registerImage(ctx, j, s))
	case *step.VerifyImage:
		end(t.verifyImage(ctx, j, s))
	case *step.ShareImage:
		end(t.shareImage(ctx, j, s))
	case *step.UnshareImage:
		end(t.unshareImage(ctx, j, s))
	case *step.UnshareSnapshot:
		end(t.unshareSnapshot(ctx, j, s))
	case *step.DeleteSnapshot:
		end(t.deleteSnapshot(ctx, j, s))
	case *step.DeregisterImage:
		end(t.deregisterImage(ctx, j, s))
	case *step.DeleteRelease:
		end(t.deleteRelease(ctx, s))
	case *step.RunInstance:
		end(t.runInstance(ctx, j, s))
	case *step.TerminateInstance:
		end(t.terminateInstance(ctx, j, s))
	case *step.CreateEmptySnapshot:
		t.createEmptySnapshot(ctx, j, s, end)
	case *step.VerifySnapshot:
		end(t.verifySnapshot(j, s))
	case *step.RevokeGrant:
		end(t.revokeGrant(ctx, j, s))
	case *step.VerifyGrantsRevoked:
		end(t.verifyGrantsRevoked(ctx, s))
	case *step.CreateGrant:
		end(t.createGrant(ctx, s))
	case *step.TagResource:
		end(t.tagResource(ctx, j, s))
	case *step.EnableSourceProtection:
		end(t.enableSourceProtection(ctx, j, s))
	case *step.DisableSourceProtection:
		end(t.disableSourceProtection(ctx, s))
	default:
		end(StepOutcome{Err: fmt.Errorf("no operation for a step of type %T", s)})
	}
}

// withGracePeriod returns a context that ends gracePeriod after ctx.
func withGracePeriod(ctx context.Context) (context.Context, func()) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(gracePeriod, cancel) })
	return lasting, func() {
		unhook()
		cancel()
	}
}
