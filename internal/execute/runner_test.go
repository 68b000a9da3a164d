// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// task is a step that only takes time.
type task struct{ step.Base }

func (*task) Permissions() []step.Permission { return nil }
func (*task) ResourceID() string             { return "" }
func (t *task) String() string               { return string(t.ID) }

func newTask(id string, takes time.Duration, needs ...distribution.StepID) *task {
	return &task{step.Base{ID: distribution.StepID(id), ExpectedDuration: takes, DependsOn: needs}}
}

var errTest = errors.New("broken")

// world executes tasks. Each call takes no time, and each task takes its duration outside of calls.
type world struct {
	fails     map[distribution.StepID]bool
	refuses   func(*stepRun) error
	saturated func(step.CopyGroup, bool)
	begun     map[distribution.StepID]time.Time
	in        map[string]int // tasks in progress by lane
	most      map[string]int
}

func (w *world) run(
	ctx context.Context,
	steps []step.Step,
	say func(distribution.Event),
) step.Outcomes {
	w.begun, w.in, w.most = map[distribution.StepID]time.Time{}, map[string]int{}, map[string]int{}
	start, end := make(chan *stepRun), make(chan *stepRun)
	defer close(end)
	go func() { // the state of this world has one owner, like the runner's
		for {
			select {
			case j := <-start:
				w.begun[j.base.ID] = time.Now()
				w.in[j.base.Queue]++
				w.most[j.base.Queue] = max(w.most[j.base.Queue], w.in[j.base.Queue])
			case j, open := <-end:
				if !open {
					return
				}
				w.in[j.base.Queue]--
			}
		}
	}()
	if say == nil {
		say = func(distribution.Event) {}
	}
	do := func(ctx context.Context, j *stepRun, ended func(step.Outcome)) {
		if w.refuses != nil {
			if err := w.refuses(j); err != nil {
				ended(step.Outcome{Err: err})
				return
			}
		}
		start <- j
		timer := time.AfterFunc(j.base.ExpectedDuration, func() {
			end <- j
			if w.fails[j.base.ID] {
				ended(step.Outcome{Err: errTest})
			} else {
				ended(step.Outcome{ID: string(j.base.ID)})
			}
		})
		context.AfterFunc(ctx, func() {
			if timer.Stop() {
				end <- j
				ended(step.Outcome{Err: context.Cause(ctx)})
			}
		})
	}
	r := newRunner(steps, do, say, time.Minute)
	r.onQueueSaturated = w.saturated
	return r.run(ctx)
}

func TestRunner_criticalPath(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			steps := make([]step.Step, 100)
			for i := range steps {
				one := newTask(fmt.Sprint(i), time.Duration(random.IntN(3600))*time.Second)
				for range random.IntN(4) {
					if i > 0 {
						one.DependsOn = append(one.DependsOn, distribution.StepID(fmt.Sprint(random.IntN(i))))
					}
				}
				steps[i] = one
			}
			var critical time.Duration
			for _, left := range step.Remaining(steps) {
				critical = max(critical, left)
			}
			begun := time.Now()
			done := new(world).run(t.Context(), steps, nil)
			if took := time.Since(begun); took != critical || len(done) != len(steps) {
				t.Errorf("seed %d: %d steps took %v, want %d in %v", seed, len(done), took, len(steps), critical)
			}
		})
	}
}

func TestRunner_duplicateStepID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(world)
		err := recovery.Do(func() error {
			w.run(t.Context(), []step.Step{newTask("a", time.Hour), newTask("a", time.Hour)}, nil)
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "two steps are called a") || len(w.begun) > 0 {
			t.Errorf("%v, begun %v", err, w.begun)
		}
	})
}

func TestRunner_queueLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []step.Step
		for i := range 60 {
			one := newTask(fmt.Sprint(i), time.Hour)
			one.Queue = "copy/a"
			steps = append(steps, one)
		}
		w := new(world)
		begun := time.Now()
		w.run(t.Context(), steps, nil)
		if w.most["copy/a"] != 20 || time.Since(begun) != 3*time.Hour {
			t.Errorf("at most %d at once in %v, want 20 in 3h", w.most["copy/a"], time.Since(begun))
		}
	})
}

// While copies wait for the quota, the end of any copy lets another start. The runner reports when that begins and
// ends, so that copies are polled more often only in between.
func TestRunner_queueSaturationReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := distribution.Location{Account: "1", Region: "r"}
		var steps []step.Step
		for i := range 21 {
			one := newTask(fmt.Sprint(i), time.Hour)
			one.Queue, one.Location = "copy/1/r", at
			steps = append(steps, one)
		}
		alone := newTask("alone", time.Hour)
		alone.Queue = "copy/2/r"
		begun := time.Now()
		var reported []string
		w := &world{saturated: func(group step.CopyGroup, isSaturated bool) {
			reported = append(reported, fmt.Sprint(group.Location, group.Images, isSaturated, time.Since(begun)))
		}}
		w.run(t.Context(), append(steps, alone), nil)
		if want := []string{"1 r false true 0s", "1 r false false 1h0m0s"}; !slices.Equal(reported, want) {
			t.Errorf("reported %q, want %q", reported, want)
		}
	})
}

func TestRunner_longestPathFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []step.Step
		for i := range 21 {
			one := newTask(fmt.Sprint(i), time.Duration(i+1)*time.Minute)
			one.Queue = "copy/a"
			steps = append(steps, one)
		}
		w := new(world)
		w.run(t.Context(), steps, nil)
		for i := 1; i < 21; i++ {
			if !w.begun[distribution.StepID(fmt.Sprint(i))].Before(w.begun["0"]) {
				t.Errorf("step %d began with or after the shortest", i)
			}
		}
	})
}

func TestRunner_laneFollowsReportedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []step.Step
		for i := range 30 {
			one := newTask(fmt.Sprint(i), time.Hour)
			one.Queue = "copy/a"
			steps = append(steps, one)
		}
		w := new(world)
		refusals := 0
		under := make(chan int, 1)
		under <- 0
		w.refuses = func(*stepRun) error {
			n := <-under
			defer func() { under <- n }()
			if n == 5 {
				refusals++
				return step.QuotaExceeded{Limit: 5}
			}
			n++
			time.AfterFunc(time.Hour-1, func() { under <- <-under - 1 }) // AWS knows of an end before we do
			return nil
		}
		begun := time.Now()
		done := w.run(t.Context(), steps, nil)
		for id, d := range done {
			if d.Err != nil {
				t.Errorf("%s: %v", id, d.Err)
			}
		}
		if took := time.Since(begun); took > 6*time.Hour+time.Minute {
			t.Errorf("30 hours of work in a lane of 5 took %v", took)
		}
		if refusals > 20 {
			t.Errorf("%d refused calls: the lane did not learn its limit", refusals)
		}
	})
}

// Other users may use up a quota for some time. The run gets its share within minutes of their end, without calling AWS
// all the time.
func TestRunner_quotaUsedByOthers(t *testing.T) {
	for _, left := range []int{0, 1, 19} { // slots that other users leave
		synctest.Test(t, func(t *testing.T) {
			begun, under, refusals := time.Now(), make(chan int, 1), 0
			under <- 0
			w := &world{refuses: func(*stepRun) error {
				n := <-under
				defer func() { under <- n }()
				if limit := 20; n >= limit || time.Since(begun) < time.Hour && n >= left {
					refusals++
					return step.QuotaExceeded{Limit: limit}
				}
				n++
				time.AfterFunc(3*time.Hour-1, func() { under <- <-under - 1 })
				return nil
			}}
			var steps []step.Step
			for i := range 20 {
				one := newTask(fmt.Sprint(i), 3*time.Hour)
				one.Queue = "copy/a"
				steps = append(steps, one)
			}
			for id, d := range w.run(t.Context(), steps, nil) {
				if d.Err != nil {
					t.Errorf("%s: %v", id, d.Err)
				}
			}
			if took := time.Since(begun); took > 4*time.Hour+5*time.Minute || refusals > 60 {
				t.Errorf("with capacity for %d for an hour, 20 copies of 3 h took %v, and %d calls were "+
					"refused", left, took, refusals)
			}
		})
	}
}

// AWS may report an exceeded quota after the run was canceled. The run ends, and reports why the copy did not start.
func TestRunner_quotaExceededAfterCancel(t *testing.T) {
	for _, answer := range []time.Duration{0, 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			said := errors.New("ResourceLimitExceeded")
			w := &world{refuses: func(j *stepRun) error {
				if j.base.Queue == "" {
					return nil
				}
				time.Sleep(answer)
				return step.QuotaExceeded{Err: said}
			}}
			var steps []step.Step
			for i := range 3 {
				one := newTask(fmt.Sprint(i), time.Hour)
				one.Queue = "copy/a"
				steps = append(steps, one)
			}
			closing := newTask("closing", time.Second)
			closing.RunsAfter = []distribution.StepID{"0", "1", "2"}
			notes := 0
			done := w.run(ctx, append(steps, closing), func(e distribution.Event) {
				if e.Kind == distribution.Noted {
					notes++
				}
			})
			if len(done) != 4 || done["closing"].Err != nil || notes != 1 ||
				!errors.Is(done["0"].Err, said) && !errors.Is(done["1"].Err, said) && !errors.Is(done["2"].Err, said) {
				t.Errorf("%d notes, %+v", notes, done)
			}
		})
	}
}

func TestRunner_failedStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing, other := distribution.Location{Account: "1", Region: "r"}, distribution.Location{Account: "2", Region: "r"}
		withDestination := func(one *task, at distribution.Location) *task { one.Destination = at; return one }
		withdraw := newTask("withdraw", time.Second, "share")
		withdraw.RunsAfter = []distribution.StepID{"copy1", "copy2"}
		steps := []step.Step{
			newTask("share", time.Second),
			withDestination(newTask("copy1", time.Minute, "share"), failing),
			withDestination(newTask("copy2", 2*time.Minute, "share"), other),
			// does not depend on the failed step, but its destination has failed
			withDestination(newTask("second1", time.Minute, "copy2"), failing),
			withDestination(newTask("register1", time.Second, "copy1"), failing),
			withDestination(newTask("register2", time.Second, "copy2"), other),
			withdraw,
		}
		var events []string
		done := (&world{fails: map[distribution.StepID]bool{"copy1": true}}).run(
			t.Context(),
			steps,
			func(e distribution.Event) {
				if e.Kind != distribution.Begun {
					events = append(events, string(e.Kind)+" "+string(e.Step))
				}
			},
		)
		want := map[distribution.StepID]error{"copy1": errTest, "second1": step.ErrSkipped, "register1": step.ErrSkipped}
		for _, s := range steps {
			id := s.Meta().ID
			if !errors.Is(done[id].Err, want[id]) || want[id] == nil && done[id].Err != nil {
				t.Errorf("%s: %v, want %v", id, done[id].Err, want[id])
			}
		}
		if len(events) != len(steps) {
			t.Errorf("each step is reported once, at its end: %v", events)
		}
	})
}

func TestRunner_cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		time.AfterFunc(90*time.Second, func() { cancel(stopped) })
		withdraw := newTask("withdraw", 10*time.Second)
		withdraw.RunsAfter = []distribution.StepID{"second"}
		steps := []step.Step{
			newTask(
				"first",
				time.Minute,
			),
			newTask("second", time.Hour, "first"),
			newTask("third", time.Hour, "second"),
			withdraw,
		}
		begun := time.Now()
		done := (&world{}).run(ctx, steps, nil)
		if done["first"].Err != nil || !errors.Is(done["second"].Err, stopped) ||
			!errors.Is(done["third"].Err, step.ErrSkipped) || done["withdraw"].Err != nil {
			t.Errorf("first %v, second %v, third %v, withdraw "+
				"%v", done["first"].Err, done["second"].Err, done["third"].Err, done["withdraw"].Err)
		}
		if took := time.Since(begun); took != 100*time.Second {
			t.Errorf("took %v, want the cancel's 90 s and the closing step's 10 s", took)
		}
	})
}

func TestRunner_cleanupTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		withdraw := newTask("withdraw", time.Hour)
		withdraw.RunsAfter = []distribution.StepID{"copy"}
		begun := time.Now()
		done := (&world{}).run(ctx, []step.Step{newTask("copy", time.Hour), withdraw}, nil)
		if done["withdraw"].Err == nil || time.Since(begun) != time.Minute {
			t.Errorf("withdraw ended with %v after %v, want it cut off after a minute", done["withdraw"].Err, time.Since(begun))
		}
	})
}

func TestRunner_waitingStepUsesNoQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var steps []step.Step
		for i := range 3 * callsAtOnce {
			steps = append(steps, newTask(fmt.Sprint(i), 0))
		}
		begun := time.Now()
		w := &world{refuses: func(*stepRun) error {
			if time.Since(begun) < time.Minute {
				return step.RetryAfter{Delay: time.Minute}
			}
			return nil
		}}
		w.run(t.Context(), steps, nil)
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("took %v, want a minute", took)
		}
	})
}
