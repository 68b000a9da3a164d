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
	ctx     context.Context
	pool    *awsclient.Pool
	slots   chan struct{}
	emit    func(distribution.Event)
	options Options
	unhook  func() bool

	ticks sync.WaitGroup
	mu    sync.Mutex // of all below; never held across a call
	views map[watchKey]*locationWatch
	over  error // why nothing is waited for any more
}

// where is a place, and the kind of copies that are waited for there.
type watchKey struct {
	distribution.Location
	images bool // else snapshots
}

// view is what is waited for at a place.
type locationWatch struct {
	at      watchKey
	copies  map[string]*watchedCopy
	crowded bool // copies to the place wait for room: every end lets one begin
	timer   *time.Timer
	due     time.Time
	looking bool
	refused time.Time // since when AWS refuses to show them; zero: it does not
}

// pending is a copy on its way.
type watchedCopy struct {
	id      string
	step    distribution.StepID
	of      distribution.Location // the destination whose image waits for all its copies; zero: every copy is waited for alone
	begun   time.Time             // of waiting
	since   time.Time             // when the copy began
	takes   time.Duration         // expected
	gib     int64
	end     func(*copyStatus, error)
	last    *copyStatus
	percent int
	still   time.Time // when it was last seen not to have moved yet
	missing time.Time // since when AWS does not show it; zero: it does
}

func newWatcher(ctx context.Context, pool *awsclient.Pool, slots chan struct{}, emit func(distribution.Event), o Options) *watcher {
	w := &watcher{ctx: ctx, pool: pool, slots: slots, emit: emit, options: o, views: map[watchKey]*locationWatch{}}
	w.unhook = context.AfterFunc(ctx, w.cancelAll)
	return w
}

// close returns when the last tick is over. Nothing is waited for any more.
func (w *watcher) close() {
	w.unhook()
	w.mu.Lock()
	w.over = errClosed
	w.mu.Unlock()
	w.ticks.Wait()
}

var errClosed = errors.New("the run is over")

// watch calls p.end once, with the copy as last seen, when it has completed (nil), failed, or is not waited for any longer.
func (w *watcher) watch(at watchKey, p *watchedCopy) {
	w.mu.Lock()
	over := w.over
	if over == nil {
		p.begun = time.Now()
		p.since, p.still = p.begun, p.begun
		v := w.view(at)
		v.copies[p.id] = p
		w.arm(v)
	}
	w.mu.Unlock()
	if over != nil {
		p.end(nil, over)
	}
}

// view is that of a place. Call it with mu held.
func (w *watcher) view(at watchKey) *locationWatch {
	if w.views[at] == nil {
		w.views[at] = &locationWatch{at: at, copies: map[string]*watchedCopy{}}
	}
	return w.views[at]
}

// crowd says whether copies to a place wait for room.
func (w *watcher) crowd(at watchKey, crowded bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over == nil {
		v := w.view(at)
		v.crowded = crowded
		w.arm(v)
	}
}

// arm sets a place's timer to when the first of its copies is worth a look. Call it with mu held.
func (w *watcher) arm(v *locationWatch) {
	if v.looking || len(v.copies) == 0 {
		return
	}
	now := time.Now()
	tick := maxPollInterval
	for _, p := range v.decisive(now) {
		tick = min(tick, p.tick(now, w.options))
	}
	if due := now.Add(tick); v.timer == nil || due.Before(v.due) {
		if v.timer != nil {
			v.timer.Stop()
		}
		v.due, v.timer = due, time.AfterFunc(tick, func() { w.tick(v) })
	}
}

// young is the age at which a copy that was accepted by mistake has failed (1.8.4): 4 to 25 seconds are what a small one takes (4.6.4).
const earlyFailureWindow = 30 * time.Second

// decisive are the copies whose ends something waits for: of those that one image is made of, the one that is expected to end
// last, and those that may still turn out to have failed at once. Where room is scarce, it is every copy.
func (v *locationWatch) decisive(now time.Time) []*watchedCopy {
	var all []*watchedCopy
	last := map[distribution.Location]*watchedCopy{}
	for _, p := range v.copies {
		if v.crowded || p.of == (distribution.Location{}) || p.gone(now) < earlyFailureWindow {
			all = append(all, p)
		} else if other := last[p.of]; other == nil || p.rest(now) > other.rest(now) {
			last[p.of] = p
		}
	}
	return slices.AppendSeq(all, maps.Values(last))
}

// tick is how long a copy need not be looked at: a third of the expected rest, so that the last looks come close to the end, and all
// of it when that is short. Before it moves nothing is known but what was planned: then no longer than it has taken so far.
func (p *watchedCopy) tick(now time.Time, o Options) time.Duration {
	rest := p.rest(now)
	tick := rest / 3
	if rest <= 2*o.PollInterval {
		tick = rest
	}
	if p.percent <= 0 {
		tick = min(tick, max(p.gone(now), 2*o.PollInterval))
	}
	if o.CopyTimeout > 0 {
		tick = min(tick, p.begun.Add(o.CopyTimeout).Sub(now)+time.Millisecond)
	}
	return min(max(tick, o.PollInterval), maxPollInterval)
}

// rest is how long a copy is expected to take from now on: by its progress since it began to move, with a twentieth for the end, where many
// stand still; before that, by what was planned.
func (p *watchedCopy) rest(now time.Time) time.Duration {
	if p.percent <= 0 {
		return max(p.takes-p.gone(now), p.gone(now)/4)
	}
	moved := now.Sub(p.still)
	return moved*time.Duration(100-p.percent)/time.Duration(p.percent) + moved/20
}

// gone is how long a copy has been on its way.
func (p *watchedCopy) gone(now time.Time) time.Duration { return now.Sub(p.since) }

// tick looks at a place.
func (w *watcher) tick(v *locationWatch) {
	w.mu.Lock()
	v.timer = nil
	if w.over != nil || v.looking {
		w.mu.Unlock()
		return
	}
	w.ticks.Add(1)
	defer w.ticks.Done()
	v.looking = true
	ids := slices.Sorted(maps.Keys(v.copies))
	w.mu.Unlock()

	select {
	case w.slots <- struct{}{}:
	case <-w.ctx.Done():
		return
	}
	var seen map[string]copyStatus
	err := recovery.Do(func() (err error) {
		seen, err = v.at.look(w.ctx, w.pool.EC2(v.at.Location), ids)
		return err
	})
	<-w.slots

	w.mu.Lock()
	v.looking = false
	var ends []func()
	var events []distribution.Event
	if w.over == nil {
		ends, events = w.evaluate(v, ids, seen, err)
		w.arm(v)
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
func (w *watcher) evaluate(v *locationWatch, ids []string, seen map[string]copyStatus, err error) (ends []func(), events []distribution.Event) {
	now := time.Now()
	refusal := v.judgeLook(now, err)
	for _, id := range ids {
		p := v.copies[id]
		verdict, over := refusal, refusal != nil
		if err == nil {
			if found, there := seen[id]; there {
				if p.see(now, found) {
					events = append(events, p.event(now, v.at.Location))
				}
			} else if p.missing.IsZero() {
				p.missing = now
			}
			verdict, over = p.verdict(now)
		}
		if timeout := w.options.CopyTimeout; !over && timeout > 0 && now.Sub(p.begun) >= timeout {
			verdict, over = fmt.Errorf("%s is not complete after %v; it goes on in AWS", id, timeout), true
		}
		if over {
			delete(v.copies, id)
			ends = append(ends, func() { p.end(p.last, verdict) })
		}
	}
	return ends, events
}

// see takes note of what AWS shows, and reports whether the copy has moved.
func (p *watchedCopy) see(now time.Time, seen copyStatus) (moved bool) {
	if p.last == nil && !seen.begun.IsZero() && seen.begun.Before(p.begun) {
		p.since, p.still = seen.begun, seen.begun // an earlier run's
	}
	p.last, p.missing = &seen, time.Time{}
	if seen.percent <= 0 {
		p.still = now
	}
	moved = seen.percent > p.percent
	p.percent = max(p.percent, seen.percent)
	return moved
}

// judgeLook says what to make of a look: nil is to go on. Throttling and the like never end a wait (4.2.1); a refusal does
// when it lasts (4.4.4), an expired session at once: it was renewed and is refused again (5.4).
func (v *locationWatch) judgeLook(now time.Time, err error) error {
	if err == nil || awsclient.IsTransient(err) {
		v.refused = time.Time{}
		return nil
	}
	if v.refused.IsZero() {
		v.refused = now
	}
	if awsclient.IsExpired(err) || now.Sub(v.refused) >= step.EventualConsistencyTimeout {
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
	since time.Duration
}

func (e *notFoundError) Error() string {
	return fmt.Sprintf("AWS has not shown %s for %v", e.id, e.since.Round(time.Second))
}

// verdict on a copy as last seen.
func (p *watchedCopy) verdict(now time.Time) (error, bool) {
	if !p.missing.IsZero() {
		if now.Sub(p.missing) < step.EventualConsistencyTimeout { // 4.4.1
			return nil, false
		}
		return &notFoundError{p.id, now.Sub(p.missing)}, true
	}
	switch p.last.state {
	case complete:
		return nil, true
	case underway:
		return nil, false
	}
	return &copyFailed{p.id, p.last.operation(), p.last.text}, true
}

func (p *watchedCopy) event(now time.Time, at distribution.Location) distribution.Event {
	rest := p.rest(now)
	return distribution.Event{
		Time: now, Kind: distribution.Progressed, Step: p.step, At: at, Resource: p.id, Percent: p.percent, GiB: p.gib, ETA: now.Add(rest),
		Text: fmt.Sprintf("%s: %d%% of %d GiB, about %v left", p.id, p.percent, p.gib, rest.Round(time.Second)),
	}
}

// giveUp ends all waits: the run is over.
func (w *watcher) cancelAll() {
	cause := context.Cause(w.ctx)
	w.mu.Lock()
	w.over = cause
	var left []*watchedCopy
	for _, v := range w.views {
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
		p.end(p.last, cause)
	}
}
