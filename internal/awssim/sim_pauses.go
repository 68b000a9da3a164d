// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"math"
	"time"
)

// maxPause is the maximum random pause or delay.
const maxPause = 3 * time.Hour

// errPaused interrupts a call whose client pauses between signing and sending. The call is executed after the pause.
var errPaused = errors.New("the client pauses before it sends the request")

// randomPause returns the duration of a pause or delay. Half of them end while a signature may still be valid (rule
// 5.11).
func (w *World) randomPause(c *Call) time.Duration {
	if c.delay > 0 {
		return c.delay
	}
	drawn := w.random("pause", c.caller.principal.ARN, c.Region, c.action())
	longest := maxPause
	if drawn&1 == 0 {
		longest = 20 * time.Minute
	}
	return time.Duration(float64(longest) * float64(mixBits(drawn)) / math.MaxUint64)
}

// beginPause sets the pause of a call. Half of the pauses of a CrashingClient stop the whole client, as a suspended
// laptop does.
func (w *World) beginPause(c *Call) {
	c.pause = w.randomPause(c)
	w.counts.Pauses++
	if c.client != nil && w.random("suspend", c.caller.principal.ARN, c.Region, c.action())&1 == 0 {
		c.client.suspend(c.pause)
	}
}

// resume waits for the end of the pause. It reports whether the client can still send. A client that crashed in the
// meantime cannot.
func (c *Call) resume() bool {
	time.Sleep(c.pause)
	c.resumed, c.pause = true, 0
	c.authorizations, c.rules = nil, nil
	return c.client == nil || !c.client.isCrashed()
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
		client:     c.client,
		fault:      LateArrival,
		resumed:    true,
	}

	time.AfterFunc(w.randomPause(c), func() { _, _ = w.execute(late) })
}

// suspend stops the whole client. Its calls neither leave nor return before the pause ends.
func (l *CrashingClient) suspend(pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(pause); until.After(l.asleep) {
		l.asleep = until
	}
}

// awake waits until the client is not suspended.
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
