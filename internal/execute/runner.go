// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// callsAtOnce limits the calls in flight. Waiting for a copy uses no slot.
const callsAtOnce = 64

// stepFunc executes a step. It calls end exactly once, possibly after it has returned, so no goroutine blocks while
// AWS copies. If the outcome is RetryAfter or QuotaExceeded, the runner calls the stepFunc again with the same
// stepRun.
type stepFunc func(ctx context.Context, j *stepRun, end func(step.Outcome))

// stepRun is a step that the runner executes.
type stepRun struct {
	step       step.Step
	base       *step.Base
	index      int           // position in the plan
	remaining  time.Duration // longest expected time from its start to the end of the run
	pending    int           // number of steps that it waits for
	dependents []*stepRun    // steps that wait for it
	queue      *callQueue
	begun      time.Time
	outcomes   step.Outcomes // of the steps that it waited for
	attempt    step.Attempt  // Nil before its start and after its end
	quotaErr   error         // last refusal because of a quota
}

// startsBefore orders the steps that can start. A copy that is already in progress comes first, because it uses the
// quota anyway. Then comes the longest remaining path, which determines the duration of the run.
func (j *stepRun) startsBefore(other *stepRun) bool {
	if isResumed := j.base.ResumeID != ""; isResumed != (other.base.ResumeID != "") {
		return isResumed
	}
	if j.remaining != other.remaining {
		return j.remaining > other.remaining
	}
	return j.index < other.index
}

// isCleanup reports whether a step revokes or deletes what no copy needs any longer. Such a step runs whatever the
// outcome, also after a cancel.
func (j *stepRun) isCleanup() bool { return len(j.base.RunsAfter) > 0 }

// mustCleanUp reports whether a step must delete a failed copy. It does so even if its destination or the run has
// failed.
func (j *stepRun) mustCleanUp() bool {
	resumable, ok := j.attempt.(step.Resumable)
	return ok && resumable.MustCleanUp()
}

// runner executes steps. Only the goroutine of run accesses its state. All other goroutines use the channels.
type runner struct {
	runStep        stepFunc
	report         func(distribution.Event)
	cleanupTimeout time.Duration // time for cleanup steps after a cancel

	slots        chan struct{}           // one for each call in flight
	events       chan distribution.Event // from running steps
	finished     chan *finishedAttempt   // buffered for all steps, so a step never blocks when it ends
	wakeups      chan *stepRun           // buffered for all steps
	backoffEnded chan *callQueue         // buffered for all queues
	closed       chan struct{}           // closed when run returns

	// called when steps of a group start or stop waiting for the quota. Nil if unused
	onQueueSaturated   func(step.CopyGroup, bool)
	runs               []*stepRun   // in the order of the plan
	queues             []*callQueue // in the order of their first step
	outcomes           step.Outcomes
	failedDestinations map[distribution.Location]bool // by account and Region
	timers             map[*stepRun]*time.Timer
	stopCause          error // why no step starts any longer. Nil if the run continues
}

type finishedAttempt struct {
	run     *stepRun
	outcome step.Outcome
}

func newRunner(
	steps []step.Step,
	runStep stepFunc,
	report func(distribution.Event),
	cleanupTimeout time.Duration,
) *runner {
	r := &runner{
		runStep: runStep, report: report, cleanupTimeout: cleanupTimeout,
		slots:              make(chan struct{}, callsAtOnce),
		events:             make(chan distribution.Event),
		finished:           make(chan *finishedAttempt, len(steps)),
		wakeups:            make(chan *stepRun, len(steps)),
		closed:             make(chan struct{}),
		outcomes:           make(step.Outcomes, len(steps)),
		failedDestinations: map[distribution.Location]bool{},
		timers:             map[*stepRun]*time.Timer{},
	}

	remaining := step.Remaining(steps)
	runs := make(map[distribution.StepID]*stepRun, len(steps))
	queues := map[string]*callQueue{}
	for i, s := range steps {
		base := s.Meta()
		if queues[base.Queue] == nil {
			queues[base.Queue] = newCallQueue(s)
			r.queues = append(r.queues, queues[base.Queue])
		}

		j := &stepRun{
			step:      s,
			base:      base,
			index:     i,
			remaining: remaining[base.ID],
			queue:     queues[base.Queue],
			outcomes:  step.Outcomes{},
		}

		for _, dependencies := range [][]distribution.StepID{base.DependsOn, base.RunsAfter} {
			for _, id := range dependencies {
				runs[id].dependents = append(runs[id].dependents, j)
				j.pending++
			}
		}

		if runs[base.ID] != nil { // outcomes are stored by ID
			panic(fmt.Sprintf("two steps are called %s", base.ID))
		}

		runs[base.ID] = j
		r.runs = append(r.runs, j)
	}

	r.backoffEnded = make(chan *callQueue, len(r.queues))
	return r
}

// run returns when all steps have ended. After ctx is done, only cleanup steps start. They have cleanupTimeout to
// finish.
func (r *runner) run(ctx context.Context) step.Outcomes {
	defer close(r.closed)
	cleanupCtx, expire := context.WithCancel(context.WithoutCancel(ctx))
	defer expire()
	for _, j := range r.runs {
		if j.pending == 0 {
			r.schedule(j)
		}
	}

	canceled := ctx.Done()
	for len(r.outcomes) < len(r.runs) {
		next := r.nextStep()
		if next != nil && r.mustSkip(next) { // while it was queued, its destination failed or the run was stopped
			next.queue.pop()
			r.finish(next, step.Outcome{Err: r.interruption(next, step.ErrSkipped)})
			continue
		}

		var slot chan<- struct{}
		if next != nil {
			slot = r.slots
		}

		select {
		case slot <- struct{}{}:
			if next.isCleanup() || next.mustCleanUp() {
				r.start(cleanupCtx, next)
			} else {
				r.start(ctx, next)
			}
		case e := <-r.finished:
			r.handleAttempt(e.run, e.outcome)
		case j := <-r.wakeups:
			r.wake(j)
		case q := <-r.backoffEnded:
			r.applyBackoff(q, q.increaseLimit())
		case event := <-r.events:
			r.report(event)
		case <-canceled:
			canceled = nil
			defer time.AfterFunc(r.cleanupTimeout, expire).Stop()
			r.stop(context.Cause(ctx))
		}
	}

	return r.outcomes
}

// nextStep returns the step to start next, or nil. It also reports which queues became saturated or free.
func (r *runner) nextStep() *stepRun {
	var next *stepRun
	for _, q := range r.queues {
		canStart := q.canStart()
		if canStart && (next == nil || q.ready[0].startsBefore(next)) {
			next = q.ready[0]
		}
		if isSaturated := len(q.ready) > 0 && !canStart; isSaturated != q.isSaturated {
			q.isSaturated = isSaturated
			if r.onQueueSaturated != nil {
				r.onQueueSaturated(q.group, isSaturated)
			}
		}
	}

	return next
}

// interruption returns why a step does not continue. If the run was stopped while the step waited for a quota, the
// error names both. Otherwise it is the given error.
func (r *runner) interruption(j *stepRun, why error) error {
	if r.stopCause != nil && j.quotaErr != nil {
		return fmt.Errorf("%w; until then: %w", r.stopCause, j.quotaErr)
	}
	return why
}

// applyBackoff schedules the next increase of a queue's limit. After a stop it restores the full limit, because
// nothing must wait for a quota then.
func (r *runner) applyBackoff(q *callQueue, delay time.Duration) {
	if r.stopCause != nil {
		q.limit = q.quota
	} else if delay > 0 {
		time.AfterFunc(delay, func() { r.backoffEnded <- q })
	}
}

// schedule queues a step whose dependencies have ended, or skips it.
func (r *runner) schedule(j *stepRun) {
	if r.mustSkip(j) {
		r.finish(j, step.Outcome{Err: j.skipCause()})
		return
	}
	j.queue.push(j)
}

// skipCause returns the error of a step that is skipped. If the snapshot for test copies is missing, the error does not
// say that the destination failed, but that it was not tested.
func (j *stepRun) skipCause() error {
	for _, id := range j.base.DependsOn {
		if step.IsUntested(j.outcomes.Of(id).Err) {
			return &step.Untested{Err: step.ErrSkipped}
		}
	}
	return step.ErrSkipped
}

func (r *runner) mustSkip(j *stepRun) bool {
	for _, id := range j.base.DependsOn {
		if j.outcomes.Of(id).Err != nil {
			return true
		}
	}
	return !j.isCleanup() && !j.mustCleanUp() && (r.stopCause != nil || r.failedDestinations[j.base.Destination])
}

func (r *runner) start(ctx context.Context, j *stepRun) {
	j.queue.pop()
	j.queue.acquire(j)
	if j.begun.IsZero() {
		j.begun = time.Now()
		r.report(distribution.Event{
			Time:    j.begun,
			Kind:    distribution.Begun,
			Step:    j.base.ID,
			At:      j.base.Location,
			Percent: -1,
			Text:    j.step.String(),
		})
	}

	var once sync.Once // a panic can follow the call of end
	end := func(d step.Outcome) { once.Do(func() { r.finished <- &finishedAttempt{j, d} }) }
	go func() {
		ctx, release := awsclient.WithSlot(ctx, func() { <-r.slots })
		defer release()
		endOnPanic(end, func() { r.runStep(ctx, j, end) })
	}()
}

// endOnPanic turns a panic into the failure of the step.
func endOnPanic(end func(step.Outcome), do func()) {
	err := recovery.Do(func() error {
		do()
		return nil
	})
	if err != nil {
		end(step.Outcome{Err: err})
	}
}

// handleAttempt ends a step after an attempt, or arranges the next attempt.
func (r *runner) handleAttempt(j *stepRun, d step.Outcome) {
	var retry step.RetryAfter
	var quota step.QuotaExceeded
	switch {
	case errors.As(d.Err, &retry):
		j.quotaErr = nil
		j.queue.release(j)
	case errors.As(d.Err, &quota):
		j.quotaErr = quota.Err
		r.applyBackoff(j.queue, j.queue.decreaseLimit(j, quota.Limit))
		if j.queue.inUse == 0 && !j.queue.isFullReported { // copies of other runs use up the quota, perhaps for hours
			j.queue.isFullReported = true
			r.report(distribution.Event{
				Time:    time.Now(),
				Kind:    distribution.Noted,
				Step:    j.base.ID,
				At:      j.base.Location,
				Percent: -1,
				Text: j.step.String() + " waits until other copies in the account complete: " +
					step.Reason(cmp.Or(quota.Err, d.Err)),
			})
		}
	default:
		j.queue.release(j)
		r.finish(j, d)
		return
	}

	if retry.Delay > 0 && (r.stopCause == nil || j.isCleanup()) {
		r.timers[j] = time.AfterFunc(retry.Delay, func() { r.wakeups <- j })
		return
	}

	r.requeue(j)
}

func (r *runner) wake(j *stepRun) {
	delete(r.timers, j)
	r.requeue(j)
}

// requeue continues a step that has started.
func (r *runner) requeue(j *stepRun) {
	if r.stopCause != nil && !j.isCleanup() && !j.mustCleanUp() {
		r.finish(j, step.Outcome{Err: r.interruption(j, r.stopCause)})
		return
	}
	j.queue.push(j)
}

// stop prevents all steps but cleanup steps from starting. Running steps notice the canceled context.
func (r *runner) stop(cause error) {
	r.stopCause = cause
	for _, q := range r.queues {
		r.applyBackoff(q, 0)
	}
	for _, j := range r.runs { // not the map, whose order is random
		if timer := r.timers[j]; timer != nil && !j.isCleanup() && timer.Stop() {
			r.wake(j)
		}
	}
}

// finish records the outcome of a step and schedules its dependents.
func (r *runner) finish(j *stepRun, d step.Outcome) {
	d.Begun, d.Ended = j.begun, time.Now()
	if resumable, ok := j.attempt.(step.Resumable); ok {
		d = resumable.Complete(d)
	}

	j.outcomes, j.attempt = nil, nil // releases memory, for a run with 1000 destinations has many thousand steps
	stored := &d
	if d.Snapshot != nil { // only direct dependents need the snapshot, and it is large
		withoutSnapshot := d
		withoutSnapshot.Snapshot = nil
		stored = &withoutSnapshot
	}
	r.outcomes[j.base.ID] = stored
	hasFailed := d.Err != nil && !step.IsUntested(d.Err)
	if hasFailed && j.base.Destination != (distribution.Location{}) {
		r.failedDestinations[j.base.Destination] = true
	}

	r.report(finishedEvent(j, d))
	for _, dependent := range j.dependents {
		dependent.outcomes[j.base.ID] = &d
		if dependent.isCleanup() {
			dependent.outcomes[j.base.ID] = stored
		}
		if dependent.pending--; dependent.pending == 0 {
			r.schedule(dependent)
		}
	}
}

// isUntestedDestination reports whether a test copy to a destination ended without a result. Such an end must not fail
// the destination.
func isUntestedDestination(s step.Step, err error) bool {
	return step.IsUntested(err) && s.Meta().Destination != (distribution.Location{})
}

func finishedEvent(j *stepRun, d step.Outcome) distribution.Event {
	e := distribution.Event{
		Time:     d.Ended,
		Kind:     distribution.Finished,
		Step:     j.base.ID,
		At:       j.base.Location,
		Resource: d.ID,
		Percent:  100,
		Text:     j.step.String(),
	}

	switch {
	case errors.Is(d.Err, step.ErrSkipped), isUntestedDestination(j.step, d.Err):
		e.Kind, e.Percent = distribution.Skipped, -1
	case d.Err != nil:
		e.Kind, e.Percent, e.Text = distribution.Failed, -1, j.step.String()+": "+step.Reason(d.Err)
	}

	return e
}

// emit sends an event of a running step. Any goroutine may call it.
func (r *runner) emit(e distribution.Event) {
	select {
	case r.events <- e:
	case <-r.closed:
	}
}
