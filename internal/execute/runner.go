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
	Made         string             // AWS id
	Snapshot     *ec2types.Snapshot // as last seen
	Uses         map[string]string  // device -> snapshot that the image starts from
	Adopted      bool               // the image is another run's
	Repeated     bool               // the creating call was repeated after a lost answer
	Unsealed     bool               // the image could not be signed: nothing may name it
	Left         []distribution.RetainedResource
	Notes        []distribution.Finding
	Err          error
}

// errSkipped ends a step that was not begun: because of what it needs, of its destination, or of the end of the run.
var errSkipped = errors.New("not begun")

// act does a step. It makes its calls and returns; end is called once, then or later, when the step has ended in AWS: no
// goroutine waits for a copy. An act that ends with comeBack or laneFull is called again with the same job.
type act func(ctx context.Context, j *stepRun, end func(StepOutcome))

// comeBack says that a step goes on after a while. Nothing holds a call meanwhile.
type retryAfter struct{ after time.Duration }

func (retryAfter) Error() string { return "to be continued" }

// laneFull says that AWS has no room for a step now (4.1.5).
type quotaExceeded struct {
	limit int   // 0: not told
	said  error // in AWS's words
}

func (quotaExceeded) Error() string { return "too many on their way" }

// job is a step on its way through the runner.
type stepRun struct {
	step  step.Step
	head  *step.Base
	index int           // in the plan
	left  time.Duration // longest expected time from its start to the end of the run
	waits int           // steps that it still waits for
	next  []*stepRun    // steps that wait for it
	lane  *callQueue
	begun time.Time
	ended map[distribution.StepID]StepOutcome // of all that it waited for
	memo  *stepState                          // what its act keeps from call to call; nil before the first and after the last
}

// before is the order in which steps begin: first what is on its way already and counts in AWS, then the longest remaining path; among equals the first
// of the plan.
func (j *stepRun) before(other *stepRun) bool {
	if found := j.head.ResumeID != ""; found != (other.head.ResumeID != "") {
		return found
	}
	if j.left != other.left {
		return j.left > other.left
	}
	return j.index < other.index
}

// closing steps take back what no copy needs any more. They run in every outcome, also after a cancel.
func (j *stepRun) isCleanup() bool { return len(j.head.RunsAfter) > 0 }

// owes reports that a step has to remove what AWS could not complete: it does so whatever became of its destination and the run.
func (j *stepRun) mustCleanUp() bool { return j.memo != nil && j.memo.failedCopy != nil }

// id finds out what a reference stands for; "" when its step made nothing.
func (j *stepRun) id(r step.Ref) string {
	if r.Known != "" {
		return r.Known
	}
	if r.Device != "" {
		return j.ended[r.From].Uses[r.Device]
	}
	return j.ended[r.From].Made
}

// runner runs steps. Its state belongs to the one goroutine of run; everybody else reaches it through the channels.
type runner struct {
	act     act
	say     func(distribution.Event)
	closing time.Duration // how long closing steps have after a cancel

	slots  chan struct{}           // one for each call in flight
	events chan distribution.Event // from steps under way
	ends   chan ended              // has room for every step, so that an end never blocks
	wakes  chan *stepRun           // likewise
	rested chan *callQueue         // has room for every lane
	over   chan struct{}           // closed when nobody listens any more

	onQueueSaturated func(watchKey, bool) // is told of places where copies wait for room, and where none does any more; nil: nobody is
	jobs             []*stepRun           // in the order of the plan
	lanes            []*callQueue         // in the order of their first step
	done             map[distribution.StepID]StepOutcome
	failed           map[distribution.Location]bool // destinations
	asleep           map[*stepRun]*time.Timer
	stopped          error // why nothing new begins
}

type ended struct {
	job *stepRun
	how StepOutcome
}

func newRunner(steps []step.Step, do act, say func(distribution.Event), closing time.Duration) *runner {
	r := &runner{
		act: do, say: say, closing: closing,
		slots:  make(chan struct{}, callsAtOnce),
		events: make(chan distribution.Event),
		ends:   make(chan ended, len(steps)),
		wakes:  make(chan *stepRun, len(steps)),
		over:   make(chan struct{}),
		done:   make(map[distribution.StepID]StepOutcome, len(steps)),
		failed: map[distribution.Location]bool{},
		asleep: map[*stepRun]*time.Timer{},
	}
	left := step.Remaining(steps)
	jobs := make(map[distribution.StepID]*stepRun, len(steps))
	lanes := map[string]*callQueue{}
	for i, s := range steps {
		head := s.Meta()
		if lanes[head.Queue] == nil {
			lanes[head.Queue] = newLane(s)
			r.lanes = append(r.lanes, lanes[head.Queue])
		}
		j := &stepRun{step: s, head: head, index: i, left: left[head.ID], lane: lanes[head.Queue], ended: map[distribution.StepID]StepOutcome{}}
		for _, waited := range [][]distribution.StepID{head.DependsOn, head.RunsAfter} {
			for _, id := range waited {
				jobs[id].next = append(jobs[id].next, j)
				j.waits++
			}
		}
		if jobs[head.ID] != nil { // of one id only one end would be known
			panic(fmt.Sprintf("two steps are called %s", head.ID))
		}
		jobs[head.ID] = j
		r.jobs = append(r.jobs, j)
	}
	r.rested = make(chan *callQueue, len(r.lanes))
	return r
}

// run returns when every step has ended. Once ctx is done nothing begins but closing steps, which have a time of their own.
func (r *runner) run(ctx context.Context) map[distribution.StepID]StepOutcome {
	defer close(r.over)
	lasting, expire := context.WithCancel(context.WithoutCancel(ctx))
	defer expire()
	for _, j := range r.jobs {
		if j.waits == 0 {
			r.ready(j)
		}
	}
	cancelled := ctx.Done()
	for len(r.done) < len(r.jobs) {
		next := r.best()
		if next != nil && r.skips(next) { // its destination failed, or the run was stopped, while it was queued
			next.lane.pop()
			r.finish(next, StepOutcome{Err: r.cutOff(next, errSkipped)})
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
		case e := <-r.ends:
			r.end(e.job, e.how)
		case j := <-r.wakes:
			r.wake(j)
		case l := <-r.rested:
			r.applyBackoff(l, l.increaseLimit())
		case event := <-r.events:
			r.say(event)
		case <-cancelled:
			cancelled = nil
			defer time.AfterFunc(r.closing, expire).Stop()
			r.stop(context.Cause(ctx))
		}
	}
	return r.done
}

// best is the step to start next; nil: none may. On its way past the lanes it tells where something waits for room.
func (r *runner) best() *stepRun {
	var best *stepRun
	for _, l := range r.lanes {
		open := l.open()
		if open && (best == nil || l.ready[0].before(best)) {
			best = l.ready[0]
		}
		if scarce := len(l.ready) > 0 && !open; scarce != l.scarce {
			l.scarce = scarce
			if r.onQueueSaturated != nil {
				r.onQueueSaturated(l.at, scarce)
			}
		}
	}
	return best
}

// cutOff is why a step does not go on: where the run was stopped before AWS had room for it, that; else the given reason.
func (r *runner) cutOff(j *stepRun, why error) error {
	if r.stopped != nil && j.memo != nil && j.memo.quotaErr != nil {
		return fmt.Errorf("%w; until then: %w", r.stopped, j.memo.quotaErr)
	}
	return why
}

// let has a lane rest for a time; 0: it need not. When the run is stopped nothing waits for room any more.
func (r *runner) applyBackoff(l *callQueue, rest time.Duration) {
	if r.stopped != nil {
		l.limit = l.most
	} else if rest > 0 {
		time.AfterFunc(rest, func() { r.rested <- l })
	}
}

// ready takes a step that waits for nothing any more.
func (r *runner) ready(j *stepRun) {
	if r.skips(j) {
		r.finish(j, StepOutcome{Err: errSkipped})
		return
	}
	j.lane.push(j)
}

func (r *runner) skips(j *stepRun) bool {
	for _, id := range j.head.DependsOn {
		if j.ended[id].Err != nil {
			return true
		}
	}
	return !j.isCleanup() && !j.mustCleanUp() && (r.stopped != nil || r.failed[j.head.Destination])
}

func (r *runner) start(ctx context.Context, j *stepRun) {
	j.lane.pop()
	j.lane.enter(j)
	if j.begun.IsZero() {
		j.begun, j.memo = time.Now(), new(stepState)
		r.say(distribution.Event{Time: j.begun, Kind: distribution.Begun, Step: j.head.ID, At: j.head.Location, Percent: -1, Text: j.step.String()})
	}
	var once sync.Once // a panic may come after the end
	end := func(d StepOutcome) { once.Do(func() { r.ends <- ended{j, d} }) }
	go func() {
		defer func() { <-r.slots }()
		guarded(end, func() { r.act(ctx, j, end) })
	}()
}

// guarded makes a panic of what a step does the step's failure.
func guarded(end func(StepOutcome), do func()) {
	err := recovery.Do(func() error {
		do()
		return nil
	})
	if err != nil {
		end(StepOutcome{Err: err})
	}
}

// end sees how an act ended: its step is over, or goes on later.
func (r *runner) end(j *stepRun, d StepOutcome) {
	var later retryAfter
	var full quotaExceeded
	switch {
	case errors.As(d.Err, &later):
		j.memo.quotaErr = nil
		j.lane.leave(j)
	case errors.As(d.Err, &full):
		j.memo.quotaErr = full.said
		r.applyBackoff(j.lane, j.lane.refuse(j, full.limit))
		if j.lane.used == 0 && !j.lane.told { // others fill it, perhaps for hours
			j.lane.told = true
			r.say(distribution.Event{Time: time.Now(), Kind: distribution.Noted, Step: j.head.ID, At: j.head.Location, Percent: -1, Text: j.step.String() + " waits until other copies in the account complete: " + reason(cmp.Or(full.said, d.Err))})
		}
	default:
		j.lane.leave(j)
		r.finish(j, d)
		return
	}
	if later.after > 0 && (r.stopped == nil || j.isCleanup()) {
		r.asleep[j] = time.AfterFunc(later.after, func() { r.wakes <- j })
		return
	}
	r.resume(j)
}

func (r *runner) wake(j *stepRun) {
	delete(r.asleep, j)
	r.resume(j)
}

// resume lets a step go on that had begun.
func (r *runner) resume(j *stepRun) {
	if r.stopped != nil && !j.isCleanup() && !j.mustCleanUp() {
		r.finish(j, StepOutcome{Err: r.cutOff(j, r.stopped)})
		return
	}
	j.lane.push(j)
}

// stop lets nothing begin any more but closing steps. What is under way hears of it by its context.
func (r *runner) stop(cause error) {
	r.stopped = cause
	for _, l := range r.lanes {
		r.applyBackoff(l, 0)
	}
	for _, j := range r.jobs { // in their order: a map has none
		if timer := r.asleep[j]; timer != nil && !j.isCleanup() && timer.Stop() {
			r.wake(j)
		}
	}
}

// finish takes note of the end of a step, and lets go what waited for it.
func (r *runner) finish(j *stepRun, d StepOutcome) {
	d.Begun, d.Ended = j.begun, time.Now()
	if j.memo != nil {
		d.Made, d.Repeated = cmp.Or(d.Made, j.memo.made), j.memo.lost
		d.Left = slices.Concat(d.Left, j.memo.leftovers(j.head.Location))
		d.Notes = append(d.Notes, j.memo.notes...)
	}
	j.ended, j.memo = nil, nil // a thousand destinations have many thousand steps
	light := d
	light.Snapshot = nil // what waits to the end of the run has no use for it
	r.done[j.head.ID] = light
	if d.Err != nil && j.head.Destination != (distribution.Location{}) {
		r.failed[j.head.Destination] = true
	}
	r.say(farewell(j, d))
	for _, waiting := range j.next {
		waiting.ended[j.head.ID] = d
		if waiting.isCleanup() {
			waiting.ended[j.head.ID] = light
		}
		if waiting.waits--; waiting.waits == 0 {
			r.ready(waiting)
		}
	}
}

func farewell(j *stepRun, d StepOutcome) distribution.Event {
	e := distribution.Event{Time: d.Ended, Kind: distribution.Finished, Step: j.head.ID, At: j.head.Location, Resource: d.Made, Percent: 100, Text: j.step.String()}
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
	case <-r.over:
	}
}
