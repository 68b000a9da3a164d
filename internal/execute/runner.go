// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// callsAtOnce bounds the calls in flight. Waiting for a copy takes none.
const callsAtOnce = 64

// Done is how a step ended.
type StepOutcome struct {
	Begun, Ended time.Time
	ID           string             // AWS id
	Snapshot     *ec2types.Snapshot // as last seen
	SnapshotIDs  map[string]string  // device -> snapshot that the image starts from
	Adopted      bool               // the image is another run's
	Repeated     bool               // the creating call was repeated after a lost answer
	Unsigned     bool               // the image could not be signed: nothing may name it
	Retained     []distribution.RetainedResource
	Notes        []distribution.Finding
	Err          error
}

// errSkipped ends a step that was not begun: because of what it needs, of its destination, or of the end of the run.
var errSkipped = errors.New("not begun")

// act does a step. It makes its calls and returns; end is called once, then or later, when the step has ended in AWS: no
// goroutine waits for a copy. An act that ends with comeBack or laneFull is called again with the same job.
type stepFunc func(ctx context.Context, j *stepRun, end func(StepOutcome))

// comeBack says that a step goes on after a while. Nothing holds a call meanwhile.
type retryAfter struct{ delay time.Duration }

func (retryAfter) Error() string { return "to be continued" }

// laneFull says that AWS has no room for a step now (4.1.5).
type quotaExceeded struct {
	limit int   // 0: not told
	err   error // in AWS's words
}

func (quotaExceeded) Error() string { return "too many on their way" }

// job is a step on its way through the runner.
type stepRun struct {
	step       step.Step
	base       *step.Base
	index      int           // in the plan
	remaining  time.Duration // longest expected time from its start to the end of the run
	pending    int           // steps that it still waits for
	dependents []*stepRun    // steps that wait for it
	queue      *callQueue
	begun      time.Time
	outcomes   map[distribution.StepID]StepOutcome // of all that it waited for
	state      *stepState                          // what its act keeps from call to call; nil before the first and after the last
}

// before is the order in which steps begin: first what is on its way already and counts in AWS, then the longest remaining path; among equals the first
// of the plan.
func (j *stepRun) startsBefore(other *stepRun) bool {
	if found := j.base.ResumeID != ""; found != (other.base.ResumeID != "") {
		return found
	}
	if j.remaining != other.remaining {
		return j.remaining > other.remaining
	}
	return j.index < other.index
}

// closing steps take back what no copy needs any more. They run in every outcome, also after a cancel.
func (j *stepRun) isCleanup() bool { return len(j.base.RunsAfter) > 0 }

// owes reports that a step has to remove what AWS could not complete: it does so whatever became of its destination and the run.
func (j *stepRun) mustCleanUp() bool { return j.state != nil && j.state.failedCopy != nil }

// id finds out what a reference stands for; "" when its step made nothing.
func (j *stepRun) id(r step.Ref) string {
	if r.Known != "" {
		return r.Known
	}
	if r.Device != "" {
		return j.outcomes[r.From].SnapshotIDs[r.Device]
	}
	return j.outcomes[r.From].ID
}

// runner runs steps. Its state belongs to the one goroutine of run; everybody else reaches it through the channels.
type runner struct {
	runStep        stepFunc
	report         func(distribution.Event)
	cleanupTimeout time.Duration // how long closing steps have after a cancel

	slots        chan struct{}           // one for each call in flight
	events       chan distribution.Event // from steps under way
	finished     chan finishedAttempt    // has room for every step, so that an end never blocks
	wakeups      chan *stepRun           // likewise
	backoffEnded chan *callQueue         // has room for every lane
	closed       chan struct{}           // closed when nobody listens any more

	onQueueSaturated   func(copyGroup, bool) // is told of places where copies wait for room, and where none does any more; nil: nobody is
	runs               []*stepRun            // in the order of the plan
	queues             []*callQueue          // in the order of their first step
	outcomes           map[distribution.StepID]StepOutcome
	failedDestinations map[distribution.Location]bool // destinations
	timers             map[*stepRun]*time.Timer
	stopCause          error // why nothing new begins
}

type finishedAttempt struct {
	run     *stepRun
	outcome StepOutcome
}

func newRunner(steps []step.Step, do stepFunc, say func(distribution.Event), closing time.Duration) *runner {
	r := &runner{
		runStep: do, report: say, cleanupTimeout: closing,
		slots:              make(chan struct{}, callsAtOnce),
		events:             make(chan distribution.Event),
		finished:           make(chan finishedAttempt, len(steps)),
		wakeups:            make(chan *stepRun, len(steps)),
		closed:             make(chan struct{}),
		outcomes:           make(map[distribution.StepID]StepOutcome, len(steps)),
		failedDestinations: map[distribution.Location]bool{},
		timers:             map[*stepRun]*time.Timer{},
	}
	left := step.Remaining(steps)
	jobs := make(map[distribution.StepID]*stepRun, len(steps))
	lanes := map[string]*callQueue{}
	for i, s := range steps {
		head := s.Meta()
		if lanes[head.Queue] == nil {
			lanes[head.Queue] = newCallQueue(s)
			r.queues = append(r.queues, lanes[head.Queue])
		}
		j := &stepRun{step: s, base: head, index: i, remaining: left[head.ID], queue: lanes[head.Queue], outcomes: map[distribution.StepID]StepOutcome{}}
		for _, waited := range [][]distribution.StepID{head.DependsOn, head.RunsAfter} {
			for _, id := range waited {
				jobs[id].dependents = append(jobs[id].dependents, j)
				j.pending++
			}
		}
		if jobs[head.ID] != nil { // of one id only one end would be known
			panic(fmt.Sprintf("two steps are called %s", head.ID))
		}
		jobs[head.ID] = j
		r.runs = append(r.runs, j)
	}
	r.backoffEnded = make(chan *callQueue, len(r.queues))
	return r
}

// run returns when every step has ended. Once ctx is done nothing begins but closing steps, which have a time of their own.
func (r *runner) run(ctx context.Context) map[distribution.StepID]StepOutcome {
	defer close(r.closed)
	lasting, expire := context.WithCancel(context.WithoutCancel(ctx))
	defer expire()
	for _, j := range r.runs {
		if j.pending == 0 {
			r.schedule(j)
		}
	}
	cancelled := ctx.Done()
	for len(r.outcomes) < len(r.runs) {
		next := r.nextStep()
		if next != nil && r.mustSkip(next) { // its destination failed, or the run was stopped, while it was queued
			next.queue.pop()
			r.finish(next, StepOutcome{Err: r.interruption(next, errSkipped)})
			continue
		}
		var slot chan<- struct{}
		if next != nil {
			slot = r.slots
		}
		select {
		case slot <- struct{}{}:
			if next.isCleanup() || next.mustCleanUp() {
				r.start(lasting, next)
			} else {
				r.start(ctx, next)
			}
		case e := <-r.finished:
			r.handleAttempt(e.run, e.outcome)
		case j := <-r.wakeups:
			r.wake(j)
		case l := <-r.backoffEnded:
			r.applyBackoff(l, l.increaseLimit())
		case event := <-r.events:
			r.report(event)
		case <-cancelled:
			cancelled = nil
			defer time.AfterFunc(r.cleanupTimeout, expire).Stop()
			r.stop(context.Cause(ctx))
		}
	}
	return r.outcomes
}

// best is the step to start next; nil: none may. On its way past the lanes it tells where something waits for room.
func (r *runner) nextStep() *stepRun {
	var best *stepRun
	for _, l := range r.queues {
		open := l.canStart()
		if open && (best == nil || l.ready[0].startsBefore(best)) {
			best = l.ready[0]
		}
		if scarce := len(l.ready) > 0 && !open; scarce != l.isSaturated {
			l.isSaturated = scarce
			if r.onQueueSaturated != nil {
				r.onQueueSaturated(l.group, scarce)
			}
		}
	}
	return best
}

// cutOff is why a step does not go on: where the run was stopped before AWS had room for it, that; else the given reason.
func (r *runner) interruption(j *stepRun, why error) error {
	if r.stopCause != nil && j.state != nil && j.state.quotaErr != nil {
		return fmt.Errorf("%w; until then: %w", r.stopCause, j.state.quotaErr)
	}
	return why
}

// let has a lane rest for a time; 0: it need not. When the run is stopped nothing waits for room any more.
func (r *runner) applyBackoff(l *callQueue, rest time.Duration) {
	if r.stopCause != nil {
		l.limit = l.quota
	} else if rest > 0 {
		time.AfterFunc(rest, func() { r.backoffEnded <- l })
	}
}

// ready takes a step that waits for nothing any more.
func (r *runner) schedule(j *stepRun) {
	if r.mustSkip(j) {
		r.finish(j, StepOutcome{Err: errSkipped})
		return
	}
	j.queue.push(j)
}

func (r *runner) mustSkip(j *stepRun) bool {
	for _, id := range j.base.DependsOn {
		if j.outcomes[id].Err != nil {
			return true
		}
	}
	return !j.isCleanup() && !j.mustCleanUp() && (r.stopCause != nil || r.failedDestinations[j.base.Destination])
}

func (r *runner) start(ctx context.Context, j *stepRun) {
	j.queue.pop()
	j.queue.acquire(j)
	if j.begun.IsZero() {
		j.begun, j.state = time.Now(), new(stepState)
		r.report(distribution.Event{Time: j.begun, Kind: distribution.Begun, Step: j.base.ID, At: j.base.Location, Percent: -1, Text: j.step.String()})
	}
	var once sync.Once // a panic may come after the end
	end := func(d StepOutcome) { once.Do(func() { r.finished <- finishedAttempt{j, d} }) }
	go func() {
		defer func() { <-r.slots }()
		endOnPanic(end, func() { r.runStep(ctx, j, end) })
	}()
}

// guarded makes a panic of what a step does the step's failure.
func endOnPanic(end func(StepOutcome), do func()) {
	err := recovery.Do(func() error {
		do()
		return nil
	})
	if err != nil {
		end(StepOutcome{Err: err})
	}
}

// end sees how an act ended: its step is over, or goes on later.
func (r *runner) handleAttempt(j *stepRun, d StepOutcome) {
	var later retryAfter
	var full quotaExceeded
	switch {
	case errors.As(d.Err, &later):
		j.state.quotaErr = nil
		j.queue.release(j)
	case errors.As(d.Err, &full):
		j.state.quotaErr = full.err
		r.applyBackoff(j.queue, j.queue.decreaseLimit(j, full.limit))
		if j.queue.inUse == 0 && !j.queue.isFullReported { // others fill it, perhaps for hours
			j.queue.isFullReported = true
			r.report(distribution.Event{Time: time.Now(), Kind: distribution.Noted, Step: j.base.ID, At: j.base.Location, Percent: -1, Text: j.step.String() + " waits until other copies in the account complete: " + reason(cmp.Or(full.err, d.Err))})
		}
	default:
		j.queue.release(j)
		r.finish(j, d)
		return
	}
	if later.delay > 0 && (r.stopCause == nil || j.isCleanup()) {
		r.timers[j] = time.AfterFunc(later.delay, func() { r.wakeups <- j })
		return
	}
	r.requeue(j)
}

func (r *runner) wake(j *stepRun) {
	delete(r.timers, j)
	r.requeue(j)
}

// resume lets a step go on that had begun.
func (r *runner) requeue(j *stepRun) {
	if r.stopCause != nil && !j.isCleanup() && !j.mustCleanUp() {
		r.finish(j, StepOutcome{Err: r.interruption(j, r.stopCause)})
		return
	}
	j.queue.push(j)
}

// stop lets nothing begin any more but closing steps. What is under way hears of it by its context.
func (r *runner) stop(cause error) {
	r.stopCause = cause
	for _, l := range r.queues {
		r.applyBackoff(l, 0)
	}
	for _, j := range r.runs { // in their order: a map has none
		if timer := r.timers[j]; timer != nil && !j.isCleanup() && timer.Stop() {
			r.wake(j)
		}
	}
}

// finish takes note of the end of a step, and lets go what waited for it.
func (r *runner) finish(j *stepRun, d StepOutcome) {
	d.Begun, d.Ended = j.begun, time.Now()
	if j.state != nil {
		d.ID, d.Repeated = cmp.Or(d.ID, j.state.resourceID), j.state.responseLost
		d.Retained = slices.Concat(d.Retained, j.state.leftovers(j.base.Location))
		d.Notes = append(d.Notes, j.state.notes...)
	}
	j.outcomes, j.state = nil, nil // a thousand destinations have many thousand steps
	light := d
	light.Snapshot = nil // what waits to the end of the run has no use for it
	r.outcomes[j.base.ID] = light
	if d.Err != nil && j.base.Destination != (distribution.Location{}) {
		r.failedDestinations[j.base.Destination] = true
	}
	r.report(finishedEvent(j, d))
	for _, waiting := range j.dependents {
		waiting.outcomes[j.base.ID] = d
		if waiting.isCleanup() {
			waiting.outcomes[j.base.ID] = light
		}
		if waiting.pending--; waiting.pending == 0 {
			r.schedule(waiting)
		}
	}
}

func finishedEvent(j *stepRun, d StepOutcome) distribution.Event {
	e := distribution.Event{Time: d.Ended, Kind: distribution.Finished, Step: j.base.ID, At: j.base.Location, Resource: d.ID, Percent: 100, Text: j.step.String()}
	switch {
	case errors.Is(d.Err, errSkipped):
		e.Kind, e.Percent = distribution.Skipped, -1
	case d.Err != nil:
		e.Kind, e.Percent, e.Text = distribution.Failed, -1, j.step.String()+": "+reason(d.Err)
	}
	return e
}

// emit tells of something under way; from any goroutine.
func (r *runner) emit(e distribution.Event) {
	select {
	case r.events <- e:
	case <-r.closed:
	}
}
