// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
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

// rarest is the longest time between two looks at a place.
const maxPollInterval = 5 * time.Minute

// filterValues is how many values a filter may have (EC2 API reference, Filter).
const filterValues = 200

// watcher waits for copies: one DescribeSnapshots per place and tick, whatever the number of copies there (4.2.2); for copies of images one
// DescribeImages besides. Between ticks there is nothing but a timer for each place.
type watcher struct {
	ctx           context.Context
	pool          *awsclient.Pool
	slots         chan struct{}
	emit          func(distribution.Event)
	options       Options
	stopAfterFunc func() bool

	polls     sync.WaitGroup
	mu        sync.Mutex // of all below; never held across a call
	groups    map[copyGroup]*groupWatch
	stopCause error // why nothing is waited for any more
}

// where is a place, and the kind of copies that are waited for there.
type copyGroup struct {
	distribution.Location
	images bool // else snapshots
}

// view is what is waited for at a place.
type groupWatch struct {
	group        copyGroup
	copies       map[string]*watchedCopy
	isSaturated  bool // copies to the place wait for room: every end lets one begin
	timer        *time.Timer
	due          time.Time
	isPolling    bool
	refusedSince time.Time // since when AWS refuses to show them; zero: it does not
}

// pending is a copy on its way.
type watchedCopy struct {
	id                  string
	step                distribution.StepID
	destination         distribution.Location // the destination whose image waits for all its copies; zero: every copy is waited for alone
	watchedSince        time.Time             // of waiting
	startedAt           time.Time             // when the copy began
	expectedDuration    time.Duration         // expected
	gib                 int64
	end                 func(*copyStatus, error)
	lastStatus          *copyStatus
	percent             int
	lastWithoutProgress time.Time // when it was last seen not to have moved yet
	missingSince        time.Time // since when AWS does not show it; zero: it does
}

func newWatcher(ctx context.Context, pool *awsclient.Pool, slots chan struct{}, emit func(distribution.Event), o Options) *watcher {
	w := &watcher{ctx: ctx, pool: pool, slots: slots, emit: emit, options: o, groups: map[copyGroup]*groupWatch{}}
	w.stopAfterFunc = context.AfterFunc(ctx, w.cancelAll)
	return w
}

// close returns when the last tick is over. Nothing is waited for any more.
func (w *watcher) close() {
	w.stopAfterFunc()
	w.mu.Lock()
	w.stopCause = errClosed
	w.mu.Unlock()
	w.polls.Wait()
}

var errClosed = errors.New("the run is over")

// watch calls p.end once, with the copy as last seen, when it has completed (nil), failed, or is not waited for any longer.
func (w *watcher) watch(at copyGroup, p *watchedCopy) {
	w.mu.Lock()
	over := w.stopCause
	if over == nil {
		p.watchedSince = time.Now()
		p.startedAt, p.lastWithoutProgress = p.watchedSince, p.watchedSince
		v := w.group(at)
		v.copies[p.id] = p
		w.schedulePoll(v)
	}
	w.mu.Unlock()
	if over != nil {
		p.end(nil, over)
	}
}

// view is that of a place. Call it with mu held.
func (w *watcher) group(at copyGroup) *groupWatch {
	if w.groups[at] == nil {
		w.groups[at] = &groupWatch{group: at, copies: map[string]*watchedCopy{}}
	}
	return w.groups[at]
}

// crowd says whether copies to a place wait for room.
func (w *watcher) setSaturated(at copyGroup, crowded bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopCause == nil {
		v := w.group(at)
		v.isSaturated = crowded
		w.schedulePoll(v)
	}
}

// arm sets a place's timer to when the first of its copies is worth a look. Call it with mu held.
func (w *watcher) schedulePoll(v *groupWatch) {
	if v.isPolling || len(v.copies) == 0 {
		return
	}
	now := time.Now()
	tick := maxPollInterval
	for _, p := range v.copiesToPoll(now) {
		tick = min(tick, p.pollDelay(now, w.options))
	}
	if due := now.Add(tick); v.timer == nil || due.Before(v.due) {
		if v.timer != nil {
			v.timer.Stop()
		}
		v.due, v.timer = due, time.AfterFunc(tick, func() { w.poll(v) })
	}
}

// young is the age at which a copy that was accepted by mistake has failed (1.8.4): 4 to 25 seconds are what a small one takes (4.6.4).
const earlyFailureWindow = 30 * time.Second

// decisive are the copies whose ends something waits for: of those that one image is made of, the one that is expected to end
// last, and those that may still turn out to have failed at once. Where room is scarce, it is every copy.
func (v *groupWatch) copiesToPoll(now time.Time) []*watchedCopy {
	var all []*watchedCopy
	last := map[distribution.Location]*watchedCopy{}
	for _, p := range v.copies {
		if v.isSaturated || p.destination == (distribution.Location{}) || p.elapsed(now) < earlyFailureWindow {
			all = append(all, p)
		} else if other := last[p.destination]; other == nil || p.remaining(now) > other.remaining(now) {
			last[p.destination] = p
		}
	}
	return slices.AppendSeq(all, maps.Values(last))
}

// tick is how long a copy need not be looked at: a third of the expected rest, so that the last looks come close to the end, and all
// of it when that is short. Before it moves nothing is known but what was planned: then no longer than it has taken so far.
func (p *watchedCopy) pollDelay(now time.Time, o Options) time.Duration {
	rest := p.remaining(now)
	tick := rest / 3
	if rest <= 2*o.PollInterval {
		tick = rest
	}
	if p.percent <= 0 {
		tick = min(tick, max(p.elapsed(now), 2*o.PollInterval))
	}
	if o.CopyTimeout > 0 {
		tick = min(tick, p.watchedSince.Add(o.CopyTimeout).Sub(now)+time.Millisecond)
	}
	return min(max(tick, o.PollInterval), maxPollInterval)
}

// rest is how long a copy is expected to take from now on: by its progress since it began to move, with a twentieth for the end, where many
// stand still; before that, by what was planned.
func (p *watchedCopy) remaining(now time.Time) time.Duration {
	if p.percent <= 0 {
		return max(p.expectedDuration-p.elapsed(now), p.elapsed(now)/4)
	}
	moved := now.Sub(p.lastWithoutProgress)
	return moved*time.Duration(100-p.percent)/time.Duration(p.percent) + moved/20
}

// gone is how long a copy has been on its way.
func (p *watchedCopy) elapsed(now time.Time) time.Duration { return now.Sub(p.startedAt) }

// tick looks at a place.
func (w *watcher) poll(v *groupWatch) {
	w.mu.Lock()
	v.timer = nil
	if w.stopCause != nil || v.isPolling {
		w.mu.Unlock()
		return
	}
	w.polls.Add(1)
	defer w.polls.Done()
	v.isPolling = true
	ids := slices.Sorted(maps.Keys(v.copies))
	w.mu.Unlock()

	select {
	case w.slots <- struct{}{}:
	case <-w.ctx.Done():
		return
	}
	var seen map[string]copyStatus
	err := recovery.Do(func() (err error) {
		seen, err = v.group.describeCopies(w.ctx, w.pool.EC2(v.group.Location), ids)
		return err
	})
	<-w.slots

	w.mu.Lock()
	v.isPolling = false
	var ends []func()
	var events []distribution.Event
	if w.stopCause == nil {
		ends, events = w.evaluate(v, ids, seen, err)
		w.schedulePoll(v)
	}
	w.mu.Unlock()
	for _, e := range events {
		w.emit(e)
	}
	for _, end := range ends {
		end()
	}
}

// judge sees which copies have ended. Call it with mu held; it calls nobody.
func (w *watcher) evaluate(v *groupWatch, ids []string, seen map[string]copyStatus, err error) (ends []func(), events []distribution.Event) {
	now := time.Now()
	refusal := v.lastingError(now, err)
	for _, id := range ids {
		p := v.copies[id]
		verdict, over := refusal, refusal != nil
		if err == nil {
			if found, there := seen[id]; there {
				if p.update(now, found) {
					events = append(events, p.event(now, v.group.Location))
				}
			} else if p.missingSince.IsZero() {
				p.missingSince = now
			}
			verdict, over = p.result(now)
		}
		if timeout := w.options.CopyTimeout; !over && timeout > 0 && now.Sub(p.watchedSince) >= timeout {
			verdict, over = fmt.Errorf("%s is not complete after %v; it goes on in AWS", id, timeout), true
		}
		if over {
			delete(v.copies, id)
			ends = append(ends, func() { p.end(p.lastStatus, verdict) })
		}
	}
	return ends, events
}

// see takes note of what AWS shows, and reports whether the copy has moved.
func (p *watchedCopy) update(now time.Time, seen copyStatus) (moved bool) {
	if p.lastStatus == nil && !seen.startedAt.IsZero() && seen.startedAt.Before(p.watchedSince) {
		p.startedAt, p.lastWithoutProgress = seen.startedAt, seen.startedAt // an earlier run's
	}
	p.lastStatus, p.missingSince = &seen, time.Time{}
	if seen.percent <= 0 {
		p.lastWithoutProgress = now
	}
	moved = seen.percent > p.percent
	p.percent = max(p.percent, seen.percent)
	return moved
}

// judgeLook says what to make of a look: nil is to go on. Throttling and the like never end a wait (4.2.1); a refusal does
// when it lasts (4.4.4), an expired session at once: it was renewed and is refused again (5.4).
func (v *groupWatch) lastingError(now time.Time, err error) error {
	if err == nil || awsclient.IsTransient(err) {
		v.refusedSince = time.Time{}
		return nil
	}
	if v.refusedSince.IsZero() {
		v.refusedSince = now
	}
	if awsclient.IsExpired(err) || now.Sub(v.refusedSince) >= step.EventualConsistencyTimeout {
		return err
	}
	return nil
}

// copyFailed is how AWS says that a copy has failed: nothing but a text (1.8.4, 4.6.5).
type copyFailed struct {
	id        string
	operation string // that made it: "ec2:CopySnapshot"
	text      string // StateMessage of a snapshot, StateReason of an image
}

func (e *copyFailed) Error() string {
	return fmt.Sprintf("AWS could not complete %s: %s", e.id, e.text)
}

// gone is a copy that AWS does not show, or not any more.
type notFoundError struct {
	id    string
	after time.Duration
}

func (e *notFoundError) Error() string {
	return fmt.Sprintf("AWS has not shown %s for %v", e.id, e.after.Round(time.Second))
}

// verdict on a copy as last seen.
func (p *watchedCopy) result(now time.Time) (error, bool) {
	if !p.missingSince.IsZero() {
		if now.Sub(p.missingSince) < step.EventualConsistencyTimeout { // 4.4.1
			return nil, false
		}
		return &notFoundError{p.id, now.Sub(p.missingSince)}, true
	}
	switch p.lastStatus.state {
	case completed:
		return nil, true
	case inProgress:
		return nil, false
	}
	return &copyFailed{p.id, p.lastStatus.operation(), p.lastStatus.text}, true
}

func (p *watchedCopy) event(now time.Time, at distribution.Location) distribution.Event {
	rest := p.remaining(now)
	return distribution.Event{
		Time: now, Kind: distribution.Progressed, Step: p.step, At: at, Resource: p.id, Percent: p.percent, GiB: p.gib, ETA: now.Add(rest),
		Text: fmt.Sprintf("%s: %d%% of %d GiB, about %v left", p.id, p.percent, p.gib, rest.Round(time.Second)),
	}
}

// giveUp ends all waits: the run is over.
func (w *watcher) cancelAll() {
	cause := context.Cause(w.ctx)
	w.mu.Lock()
	w.stopCause = cause
	var left []*watchedCopy
	for _, v := range w.groups {
		if v.timer != nil {
			v.timer.Stop()
		}
		for _, p := range v.copies {
			left = append(left, p)
		}
		clear(v.copies)
	}
	w.mu.Unlock()
	slices.SortFunc(left, func(a, b *watchedCopy) int { return strings.Compare(a.id, b.id) })
	for _, p := range left {
		p.end(p.lastStatus, cause)
	}
}
