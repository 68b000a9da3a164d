// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// maxPollInterval is the longest time between two polls of a group.
const maxPollInterval = 5 * time.Minute

// watcher polls AWS until copies end. It makes one DescribeSnapshots call for a group and poll, whatever the number
// of copies (rule 4.2.2). Groups of images also need one DescribeImages call. Between polls a group holds only a
// timer.
type watcher struct {
	ctx           context.Context
	pool          *awsclient.Pool
	slots         chan struct{}
	emit          func(distribution.Event)
	options       Options
	stopAfterFunc func() bool

	polls     sync.WaitGroup
	mu        sync.Mutex // guards the fields below. It is never held during a call
	groups    map[step.CopyGroup]*groupWatch
	stopCause error // why watching ended. Nil if it goes on
}

// groupWatch holds the watched copies of a group.
type groupWatch struct {
	group        step.CopyGroup
	copies       map[string]*watchedCopy
	isSaturated  bool // steps wait for the quota, so each copy that ends lets one start
	timer        *time.Timer
	due          time.Time
	isPolling    bool
	refusedSince time.Time // since when AWS refuses to describe the copies. Zero if it does not
}

// watchedCopy is a copy that the watcher polls.
type watchedCopy struct {
	id                  string
	step                distribution.StepID
	destination         distribution.Location // whose image needs all copies. Zero if each copy counts alone
	watchedSince        time.Time             // when watching began
	startedAt           time.Time             // when AWS began the copy
	expectedDuration    time.Duration
	gib                 int64
	end                 func(*step.CopyStatus, error)
	lastStatus          *step.CopyStatus
	percent             int
	lastWithoutProgress time.Time // when its progress was last seen at 0%
	missingSince        time.Time // since when AWS does not show it. Zero if it does
}

func newWatcher(
	ctx context.Context,
	pool *awsclient.Pool,
	slots chan struct{},
	emit func(distribution.Event),
	o Options,
) *watcher {
	w := &watcher{ctx: ctx, pool: pool, slots: slots, emit: emit, options: o, groups: map[step.CopyGroup]*groupWatch{}}
	w.stopAfterFunc = context.AfterFunc(ctx, w.cancelAll)
	return w
}

// close stops watching and returns when the last poll has ended.
func (w *watcher) close() {
	w.stopAfterFunc()
	w.mu.Lock()
	w.stopCause = errClosed
	w.mu.Unlock()
	w.polls.Wait()
}

var errClosed = errors.New("the run is over")

// watch calls p.end once with the last status of the copy. The error is nil if it completed. It is set if the copy
// failed or watching ended.
func (w *watcher) watch(key step.CopyGroup, p *watchedCopy) {
	w.mu.Lock()
	stopCause := w.stopCause
	if stopCause == nil {
		p.watchedSince = time.Now()
		p.startedAt, p.lastWithoutProgress = p.watchedSince, p.watchedSince
		g := w.group(key)
		g.copies[p.id] = p
		w.schedulePoll(g)
	}

	w.mu.Unlock()
	if stopCause != nil {
		p.end(nil, stopCause)
	}
}

// group returns the watch of a group. The caller holds mu.
func (w *watcher) group(key step.CopyGroup) *groupWatch {
	if w.groups[key] == nil {
		w.groups[key] = &groupWatch{group: key, copies: map[string]*watchedCopy{}}
	}
	return w.groups[key]
}

// setSaturated records whether steps of a group wait for the quota.
func (w *watcher) setSaturated(key step.CopyGroup, isSaturated bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopCause == nil {
		g := w.group(key)
		g.isSaturated = isSaturated
		w.schedulePoll(g)
	}
}

// schedulePoll sets the timer of a group to the first poll that one of its copies needs. The caller holds mu.
func (w *watcher) schedulePoll(g *groupWatch) {
	if g.isPolling || len(g.copies) == 0 {
		return
	}

	now := time.Now()
	delay := maxPollInterval
	for _, p := range g.copiesToPoll(now) {
		delay = min(delay, p.pollDelay(now, w.options))
	}

	if next := now.Add(delay); g.timer == nil || next.Before(g.due) {
		if g.timer != nil {
			g.timer.Stop()
		}
		g.due, g.timer = next, time.AfterFunc(delay, func() { w.poll(g) })
	}
}

// earlyFailureWindow is the age at which a copy with missing permissions has failed (rule 1.8.4). A small copy
// takes 4 to 25 seconds (rule 4.6.4).
const earlyFailureWindow = 30 * time.Second

// copiesToPoll returns the copies that determine the next poll. Of the copies for one image only the last to end
// counts. Copies that may still fail early count too. In a saturated group all copies count.
func (g *groupWatch) copiesToPoll(now time.Time) []*watchedCopy {
	var copies []*watchedCopy
	lastOf := map[distribution.Location]*watchedCopy{}
	for _, p := range g.copies {
		if g.isSaturated || p.destination == (distribution.Location{}) || p.elapsed(now) < earlyFailureWindow {
			copies = append(copies, p)
		} else if other := lastOf[p.destination]; other == nil || p.remaining(now) > other.remaining(now) {
			lastOf[p.destination] = p
		}
	}
	return slices.AppendSeq(copies, maps.Values(lastOf))
}

// pollDelay returns the delay before the next poll of a copy. It is 3/7 of the remaining time, so that polls become
// frequent towards the end. If little time remains, it is all of the remaining time. Without progress the remaining
// time is only a plan, so the delay is then at most the elapsed time.
func (p *watchedCopy) pollDelay(now time.Time, o Options) time.Duration {
	remaining := p.remaining(now)
	last := 3 * o.PollInterval
	if p.percent <= 0 {
		last = 2 * o.PollInterval
	}
	delay := remaining * 3 / 7
	if remaining <= last {
		delay = remaining
	}
	if p.percent <= 0 {
		delay = min(delay, max(p.elapsed(now), 2*o.PollInterval))
	}
	if o.CopyTimeout > 0 {
		delay = min(delay, p.watchedSince.Add(o.CopyTimeout).Sub(now)+time.Millisecond)
	}
	return min(max(delay, o.PollInterval), maxPollInterval)
}

// remaining returns the expected remaining time. It extrapolates the progress and adds a twentieth, because many
// copies stall near the end. Without progress it uses the planned duration.
func (p *watchedCopy) remaining(now time.Time) time.Duration {
	if p.percent <= 0 {
		return max(p.expectedDuration-p.elapsed(now), p.elapsed(now)/4)
	}
	moved := now.Sub(p.lastWithoutProgress)
	return moved*time.Duration(100-p.percent)/time.Duration(p.percent) + moved/20
}

// elapsed returns the age of a copy.
func (p *watchedCopy) elapsed(now time.Time) time.Duration { return now.Sub(p.startedAt) }

// poll asks AWS about the copies of a group: those of one account and Region.
func (w *watcher) poll(g *groupWatch) {
	w.mu.Lock()
	g.timer = nil
	if w.stopCause != nil || g.isPolling {
		w.mu.Unlock()
		return
	}

	w.polls.Add(1)
	defer w.polls.Done()
	g.isPolling = true
	ids := slices.SortedFunc(maps.Keys(g.copies), func(a, b string) int { // the oldest copies end first
		return cmp.Or(g.copies[a].watchedSince.Compare(g.copies[b].watchedSince), strings.Compare(a, b))
	})
	w.mu.Unlock()

	select {
	case w.slots <- struct{}{}:
	case <-w.ctx.Done():
		return
	}

	ctx, release := awsclient.WithSlot(w.ctx, func() { <-w.slots })
	var statuses map[string]step.CopyStatus
	err := recovery.Do(func() (err error) {
		statuses, err = g.group.Describe(ctx, w.pool.EC2(g.group.Location), ids)
		return err
	})
	release()

	w.mu.Lock()
	g.isPolling = false
	var ends []func()
	var events []distribution.Event
	if w.stopCause == nil {
		ends, events = w.evaluate(g, ids, statuses, err)
		w.schedulePoll(g)
	}

	w.mu.Unlock()
	for _, e := range events {
		w.emit(e)
	}

	for _, end := range ends {
		end()
	}
}

// evaluate returns the callbacks of the copies that have ended, and progress events. The caller holds mu, so
// evaluate must not call them itself.
func (w *watcher) evaluate(
	g *groupWatch,
	ids []string,
	statuses map[string]step.CopyStatus,
	err error,
) (ends []func(), events []distribution.Event) {
	now := time.Now()
	lasting := g.lastingError(now, err)
	for _, id := range ids {
		p := g.copies[id]
		result, isOver := lasting, lasting != nil
		if err == nil {
			if status, isShown := statuses[id]; isShown {
				if p.update(now, status) {
					events = append(events, p.event(now, g.group.Location))
				}
			} else if p.missingSince.IsZero() {
				p.missingSince = now
			}
			isOver, result = p.result(now)
		}

		if timeout := w.options.CopyTimeout; !isOver && timeout > 0 && now.Sub(p.watchedSince) >= timeout {
			result, isOver = fmt.Errorf("%s is not complete after %v; it goes on in AWS", id, timeout), true
		}

		if isOver {
			delete(g.copies, id)
			ends = append(ends, func() { p.end(p.lastStatus, result) })
		}
	}

	return ends, events
}

// update stores the status of a copy. It reports whether the copy has made progress since the last status.
func (p *watchedCopy) update(now time.Time, status step.CopyStatus) (hasProgress bool) {
	if p.lastStatus == nil && !status.StartedAt.IsZero() && status.StartedAt.Before(p.watchedSince) {
		p.startedAt, p.lastWithoutProgress = status.StartedAt, status.StartedAt // an earlier run started the copy
	}
	p.lastStatus, p.missingSince = &status, time.Time{}
	if status.Percent <= 0 {
		p.lastWithoutProgress = now
	}
	hasProgress = status.Percent > p.percent
	p.percent = max(p.percent, status.Percent)
	return hasProgress
}

// lastingError returns an error that ends the wait, or nil. A transient error never ends it (rule 4.2.1). A refusal
// ends it if it lasts (rule 4.4.4, eventual consistency). An expired session ends it at once, because its renewal
// has already failed (rule 5.4). So does a call that AWS has not answered for minutes.
func (g *groupWatch) lastingError(now time.Time, err error) error {
	if err == nil || awsclient.IsTransient(err) {
		g.refusedSince = time.Time{}
		return nil
	}
	if g.refusedSince.IsZero() {
		g.refusedSince = now
	}
	isLasting := now.Sub(g.refusedSince) >= step.EventualConsistencyTimeout
	if isLasting || awsclient.IsExpired(err) || awsclient.IsUnanswered(err) {
		return err
	}
	return nil
}

// result reports whether a copy has ended, and why it failed.
func (p *watchedCopy) result(now time.Time) (isOver bool, err error) {
	if !p.missingSince.IsZero() {
		if now.Sub(p.missingSince) < step.EventualConsistencyTimeout { // eventual consistency (rule 4.4.1)
			return false, nil
		}
		return true, &step.CopyNotFound{ID: p.id, After: now.Sub(p.missingSince)}
	}

	return p.lastStatus.End()
}

func (p *watchedCopy) event(now time.Time, at distribution.Location) distribution.Event {
	remaining := p.remaining(now)
	return distribution.Event{
		Time:     now,
		Kind:     distribution.Progressed,
		Step:     p.step,
		At:       at,
		Resource: p.id,
		Percent:  p.percent,
		GiB:      p.gib,
		ETA:      now.Add(remaining),
		Text:     fmt.Sprintf("%s: %d%% of %d GiB, about %v left", p.id, p.percent, p.gib, remaining.Round(time.Second)),
	}
}

// cancelAll ends all waits when the run is canceled.
func (w *watcher) cancelAll() {
	cause := context.Cause(w.ctx)
	w.mu.Lock()
	w.stopCause = cause
	var copies []*watchedCopy
	for _, g := range w.groups {
		if g.timer != nil {
			g.timer.Stop()
		}
		for _, p := range g.copies {
			copies = append(copies, p)
		}
		clear(g.copies)
	}

	w.mu.Unlock()
	slices.SortFunc(copies, func(a, b *watchedCopy) int { return strings.Compare(a.id, b.id) })
	for _, p := range copies {
		p.end(p.lastStatus, cause)
	}
}
