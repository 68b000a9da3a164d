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

// Options of a run.
type Options struct {
	CopyTimeout  time.Duration // the wait for one copy; 0: none of its own
	PollInterval time.Duration // the shortest time between two looks at a place
	Evidence     Evidence
}

// closingTime is what closing steps have after a cancel or time-out of the run.
const cleanupTimeout = 5 * time.Minute

// graceTime is what a call that makes something has left to bring its answer when the run is cancelled: the thing's id is worth it.
const gracePeriod = 5 * time.Second

// Run runs a plan's steps until every one has ended, and says what came of it. When ctx is done, nothing is made any more;
// what was shared is withdrawn within a time of its own. say is called by one goroutine at a time, in the order of events.
func Run(ctx context.Context, pool *awsclient.Pool, p plan.Plan, o Options, say func(distribution.Event)) distribution.Result {
	begun := time.Now()
	done := run(ctx, pool, p.Steps, p.Keys, o, say)
	result := resultOf(ctx, pool, p, done)
	result.Begun, result.Ended = begun, time.Now()
	return result
}

func run(ctx context.Context, pool *awsclient.Pool, steps []step.Step, keys map[provenance.SourceImage]provenance.SigningKeys, o Options, say func(distribution.Event)) map[distribution.StepID]StepOutcome {
	t := &executor{pool: pool, evidence: o.Evidence, keys: keys, begun: time.Now(), copies: map[distribution.StepID]*step.CopySnapshot{}}
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
		d.Retained = slices.DeleteFunc(d.Retained, func(l distribution.RetainedResource) bool {
			_, gone := t.deleted.Load(l.Resource)
			return gone
		})
		done[id] = d
	}
	return done
}

// transfer is a run of steps against AWS.
type executor struct {
	pool          *awsclient.Pool
	evidence      Evidence
	keys          map[provenance.SourceImage]provenance.SigningKeys // of the source images
	watcher       *watcher
	begun         time.Time
	copies        map[distribution.StepID]*step.CopySnapshot // of the run
	createdGrants []*step.CreateGrant                        // likewise
	deleted       sync.Map                                   // ids of snapshots, so that none of them is listed as left behind

	mu         sync.Mutex // of all below
	createdIDs []string   // ids that AWS returned to creating calls
	knownRuns  distribution.Runs
}

// act finds the act of a step: a file of this package has it, by the name of the step's type.
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
		end(StepOutcome{Err: fmt.Errorf("nobody knows how to do a step of type %T", s)})
	}
}

// grace is a context that lasts a little longer than ctx.
func withGracePeriod(ctx context.Context) (context.Context, func()) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(gracePeriod, cancel) })
	return lasting, func() {
		unhook()
		cancel()
	}
}
