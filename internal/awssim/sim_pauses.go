// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"math"
	"time"
)

// longestPause is the longest pause or delay that is drawn.
const longestPause = 3 * time.Hour

// errPaused ends the first half of a call whose client stops between signing and sending.
var errPaused = errors.New("the client pauses before it sends the request")

// randomPause returns how long a pause or a delay takes. Half of them end while a signature may still be good (rule
// 5.11).
func (w *World) randomPause(c *Call) time.Duration {
	if c.delay > 0 {
		return c.delay
	}
	drawn := w.random("pause", c.caller.principal.ARN, c.Region, c.action())
	longest := longestPause
	if drawn&1 == 0 {
		longest = 20 * time.Minute
	}
	return time.Duration(float64(longest) * float64(mixBits(drawn)) / math.MaxUint64)
}

// beginPause notes the pause of a call. Half of the pauses of a Line stop the whole client, as a suspended laptop does.
func (w *World) beginPause(c *Call) {
	c.pause = w.randomPause(c)
	w.counts.Pauses++
	if c.line != nil && w.random("suspend", c.caller.principal.ARN, c.Region, c.action())&1 == 0 {
		c.line.suspend(c.pause)
	}
}

// resume waits for the end of the pause. It reports whether the client still lives: one that was cut in the meantime
// sends nothing.
func (c *Call) resume() bool {
	time.Sleep(c.pause)
	c.resumed, c.pause = true, 0
	c.authorizations, c.rules = nil, nil
	return c.line == nil || !c.line.isCrashed()
}

// deliverLate executes a call later, although its client has seen the connection break.
func (w *World) deliverLate(c *Call) {
	late := &Call{
		ID:         newRequestID(w.random("late arrival", c.request.AccessKeyID, c.Region, c.bodyDigest)),
		Service:    c.Service,
		Operation:  c.Operation,
		Region:     c.Region,
		request:    c.request,
		bodyDigest: c.bodyDigest,
		line:       c.line,
		fault:      LateArrival,
		resumed:    true,
	}

	time.AfterFunc(w.randomPause(c), func() { _, _ = w.execute(late) })
}

// suspend stops the whole client: its calls neither leave nor return before the pause is over.
func (l *CrashingClient) suspend(pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(pause); until.After(l.asleep) {
		l.asleep = until
	}
}

// awake waits until the client runs.
func (l *CrashingClient) awake() {
	for {
		l.mu.Lock()
		remaining := time.Until(l.asleep)
		l.mu.Unlock()
		if remaining <= 0 {
			return
		}
		time.Sleep(remaining)
	}
}
