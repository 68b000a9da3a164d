// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"sync"
	"time"
)

// Clock shows AWS's time: the last Date header and what the wall clock has advanced since. The monotonic clock stops
// while a machine is suspended, so it would let a run work on after its record has lapsed.
type Clock struct {
	mu   sync.Mutex
	aws  time.Time // Zero before the first response
	wall time.Time // when aws was received, without a monotonic reading
}

// Observe takes the Date header of a response.
func (c *Clock) Observe(date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aws, c.wall = date, wallClock()
}

// Now returns AWS's time. False before the first response.
func (c *Clock) Now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aws.Add(wallClock().Sub(c.wall)), !c.aws.IsZero()
}

// wallClock returns the local time without its monotonic reading.
func wallClock() time.Time { return time.Now().Round(0) }
