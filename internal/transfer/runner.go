// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/safely"
)

// callsAtOnce bounds the calls in flight. Waiting for a copy takes none.
const callsAtOnce = 64

// Done is how a step ended.
type Done struct {
	Begun, Ended time.Time
	Made         string             // AWS id
	Snapshot     *ec2types.Snapshot // as last seen
	Uses         map[string]string  // device -> snapshot that the image starts from
	SealKey      origin.Key         // that the source image has
	Adopted      bool               // the image is another run's
	Unsealed     bool               // the image could not get its second seal: nothing may point at it
	Left         []plan.Leftover
	Notes        []plan.Finding
	Err          error
}

// errSkipped ends a step that was not begun: because of what it needs, of its destination, or of the end of the run.
var errSkipped = errors.New("not begun")

// act does a step. It makes its calls and returns; end is called once, then or later, when the step has ended in AWS: no
// goroutine waits for a copy. An act that ends with comeBack or laneFull is called again with the same job.
type act func(ctx context.Context, j *job, end func(Done))

// comeBack says that a step goes on after a while. Nothing holds a call meanwhile.
type comeBack struct{ after time.Duration }

func (comeBack) Error() string { return "to be continued" }

// laneFull says that AWS has no room for a step now (4.1.5).
type laneFull struct {
	limit int   // 0: not told
	said  error // in AWS's words
}

func (laneFull) Error() string { return "too many on their way" }

// job is a step on its way through the runner.
type job struct {
	step  plan.Step
	head  *plan.Head
	index int           // in the plan
	left  time.Duration // longest expected time from its start to the end of the run
	waits int           // steps that it still waits for
	next  []*job        // steps that wait for it
	lane  *lane
	begun time.Time
	ended map[plan.ID]Done // of all that it waited for
	memo  *memo            // what its act keeps from call to call; nil before the first and after the last
}

// before is the order in which steps begin: first what is on its way already and counts in AWS, then the longest remaining path; among equals the first
// of the plan.
func (j *job) before(other *job) bool {
	if found := j.head.Found != ""; found != (other.head.Found != "") {
		return found
	}
	if j.left != other.left {
		return j.left > other.left
	}
	return j.index < other.index
}

// closing steps take back what no copy needs any more. They run in every outcome, also after a cancel.
func (j *job) closing() bool { return len(j.head.After) > 0 }

// owes reports that a step has to remove what AWS could not complete: it does so whatever became of its destination and the run.
func (j *job) owes() bool { return j.memo != nil && j.memo.broken != nil }

// id finds out what a reference stands for; "" when its step made nothing.
func (j *job) id(r plan.Ref) string {
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
	say     func(plan.Event)
	closing time.Duration // how long closing steps have after a cancel

	slots  chan struct{}   // one for each call in flight
	events chan plan.Event // from steps under way
	ends   chan ended      // has room for every step, so that an end never blocks
	wakes  chan *job       // likewise
	rested chan *lane      // has room for every lane
	over   chan struct{}   // closed when nobody listens any more

	crowd   func(where, bool) // is told of places where copies wait for room, and where none does any more; nil: nobody is
	jobs    []*job            // in the order of the plan
	lanes   []*lane           // in the order of their first step
	done    map[plan.ID]Done
	failed  map[plan.Place]bool // destinations
	asleep  map[*job]*time.Timer
	stopped error // why nothing new begins
}

type ended struct {
	job *job
	how Done
}

func newRunner(steps []plan.Step, do act, say func(plan.Event), closing time.Duration) *runner {
	r := &runner{
		act: do, say: say, closing: closing,
		slots:  make(chan struct{}, callsAtOnce),
		events: make(chan plan.Event),
		ends:   make(chan ended, len(steps)),
		wakes:  make(chan *job, len(steps)),
		over:   make(chan struct{}),
		done:   make(map[plan.ID]Done, len(steps)),
		failed: map[plan.Place]bool{},
		asleep: map[*job]*time.Timer{},
	}
	left := plan.Remaining(steps)
	jobs := make(map[plan.ID]*job, len(steps))
	lanes := map[string]*lane{}
	for i, s := range steps {
		head := s.Base()
		if lanes[head.Lane] == nil {
			lanes[head.Lane] = newLane(s)
			r.lanes = append(r.lanes, lanes[head.Lane])
		}
		j := &job{step: s, head: head, index: i, left: left[head.Step], lane: lanes[head.Lane], ended: map[plan.ID]Done{}}
		for _, waited := range [][]plan.ID{head.Needs, head.After} {
			for _, id := range waited {
				jobs[id].next = append(jobs[id].next, j)
				j.waits++
			}
		}
		if jobs[head.Step] != nil { // of one id only one end would be known
			panic(fmt.Sprintf("two steps are called %s", head.Step))
		}
		jobs[head.Step] = j
		r.jobs = append(r.jobs, j)
	}
	r.rested = make(chan *lane, len(r.lanes))
	return r
}

// run returns when every step has ended. Once ctx is done nothing begins but closing steps, which have a time of their own.
func (r *runner) run(ctx context.Context) map[plan.ID]Done {
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
			r.finish(next, Done{Err: r.cutOff(next, errSkipped)})
			continue
		}
		var slot chan<- struct{}
		if next != nil {
			slot = r.slots
		}
		select {
		case slot <- struct{}{}:
			if next.closing() || next.owes() {
				r.start(lasting, next)
			} else {
				r.start(ctx, next)
			}
		case e := <-r.ends:
			r.end(e.job, e.how)
		case j := <-r.wakes:
			r.wake(j)
		case l := <-r.rested:
			r.let(l, l.rested())
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
func (r *runner) best() *job {
	var best *job
	for _, l := range r.lanes {
		open := l.open()
		if open && (best == nil || l.ready[0].before(best)) {
			best = l.ready[0]
		}
		if scarce := len(l.ready) > 0 && !open; scarce != l.scarce {
			l.scarce = scarce
			if r.crowd != nil {
				r.crowd(l.at, scarce)
			}
		}
	}
	return best
}

// cutOff is why a step does not go on: where the run was stopped before AWS had room for it, that; else the given reason.
func (r *runner) cutOff(j *job, why error) error {
	if r.stopped != nil && j.memo != nil && j.memo.crowded != nil {
		return fmt.Errorf("%w; until then: %w", r.stopped, j.memo.crowded)
	}
	return why
}

// let has a lane rest for a time; 0: it need not. When the run is stopped nothing waits for room any more.
func (r *runner) let(l *lane, rest time.Duration) {
	if r.stopped != nil {
		l.room = l.most
	} else if rest > 0 {
		time.AfterFunc(rest, func() { r.rested <- l })
	}
}

// ready takes a step that waits for nothing any more.
func (r *runner) ready(j *job) {
	if r.skips(j) {
		r.finish(j, Done{Err: errSkipped})
		return
	}
	j.lane.push(j)
}

func (r *runner) skips(j *job) bool {
	for _, id := range j.head.Needs {
		if j.ended[id].Err != nil {
			return true
		}
	}
	return !j.closing() && !j.owes() && (r.stopped != nil || r.failed[j.head.For])
}

func (r *runner) start(ctx context.Context, j *job) {
	j.lane.pop()
	j.lane.enter(j)
	if j.begun.IsZero() {
		j.begun, j.memo = time.Now(), new(memo)
		r.say(plan.Event{Time: j.begun, Kind: plan.Begun, Step: j.head.Step, At: j.head.At, Percent: -1, Text: j.step.String()})
	}
	var once sync.Once // a panic may come after the end
	end := func(d Done) { once.Do(func() { r.ends <- ended{j, d} }) }
	go func() {
		defer func() { <-r.slots }()
		guarded(end, func() { r.act(ctx, j, end) })
	}()
}

// guarded makes a panic of what a step does the step's failure.
func guarded(end func(Done), do func()) {
	err := safely.Do(func() error {
		do()
		return nil
	})
	if err != nil {
		end(Done{Err: err})
	}
}

// end sees how an act ended: its step is over, or goes on later.
func (r *runner) end(j *job, d Done) {
	var later comeBack
	var full laneFull
	switch {
	case errors.As(d.Err, &later):
		j.memo.crowded = nil
		j.lane.leave(j)
	case errors.As(d.Err, &full):
		j.memo.crowded = full.said
		r.let(j.lane, j.lane.refuse(j, full.limit))
		if j.lane.used == 0 && !j.lane.told { // others fill it, perhaps for hours
			j.lane.told = true
			r.say(plan.Event{Time: time.Now(), Kind: plan.Noted, Step: j.head.Step, At: j.head.At, Percent: -1, Text: j.step.String() + " waits: AWS has no room for it, and nothing of this run takes any: " + reason(cmp.Or(full.said, d.Err))})
		}
	default:
		j.lane.leave(j)
		r.finish(j, d)
		return
	}
	if later.after > 0 && (r.stopped == nil || j.closing()) {
		r.asleep[j] = time.AfterFunc(later.after, func() { r.wakes <- j })
		return
	}
	r.resume(j)
}

func (r *runner) wake(j *job) {
	delete(r.asleep, j)
	r.resume(j)
}

// resume lets a step go on that had begun.
func (r *runner) resume(j *job) {
	if r.stopped != nil && !j.closing() && !j.owes() {
		r.finish(j, Done{Err: r.cutOff(j, r.stopped)})
		return
	}
	j.lane.push(j)
}

// stop lets nothing begin any more but closing steps. What is under way hears of it by its context.
func (r *runner) stop(cause error) {
	r.stopped = cause
	for _, l := range r.lanes {
		r.let(l, 0)
	}
	for _, j := range r.jobs { // in their order: a map has none
		if timer := r.asleep[j]; timer != nil && !j.closing() && timer.Stop() {
			r.wake(j)
		}
	}
}

// finish takes note of the end of a step, and lets go what waited for it.
func (r *runner) finish(j *job, d Done) {
	d.Begun, d.Ended = j.begun, time.Now()
	if j.memo != nil {
		d.Made = cmp.Or(d.Made, j.memo.made)
		d.Left = slices.Concat(d.Left, j.memo.leftovers(j.head.At))
		d.Notes = append(d.Notes, j.memo.notes...)
	}
	j.ended, j.memo = nil, nil // a thousand destinations have many thousand steps
	light := d
	light.Snapshot = nil // what waits to the end of the run has no use for it
	r.done[j.head.Step] = light
	if d.Err != nil && j.head.For != (plan.Place{}) {
		r.failed[j.head.For] = true
	}
	r.say(farewell(j, d))
	for _, waiting := range j.next {
		waiting.ended[j.head.Step] = d
		if waiting.closing() {
			waiting.ended[j.head.Step] = light
		}
		if waiting.waits--; waiting.waits == 0 {
			r.ready(waiting)
		}
	}
}

func farewell(j *job, d Done) plan.Event {
	e := plan.Event{Time: d.Ended, Kind: plan.Finished, Step: j.head.Step, At: j.head.At, Resource: d.Made, Percent: 100, Text: j.step.String()}
	switch {
	case errors.Is(d.Err, errSkipped):
		e.Kind, e.Percent = plan.Skipped, -1
	case d.Err != nil:
		e.Kind, e.Percent, e.Text = plan.Failed, -1, j.step.String()+": "+reason(d.Err)
	}
	return e
}

// emit tells of something under way; from any goroutine.
func (r *runner) emit(e plan.Event) {
	select {
	case r.events <- e:
	case <-r.over:
	}
}
