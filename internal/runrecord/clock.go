// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"sync"
	"time"
)

// Clock shows AWS's time: the last Date header plus the time that has passed on the wall clock since. It does not use
// the monotonic clock, which stops while a machine is suspended. A run could then continue after its record has lapsed.
type Clock struct {
	mu   sync.Mutex
	aws  time.Time // Zero before the first response
	wall time.Time // when aws was received, without a monotonic reading
}

// Observe stores the Date header of a response.
func (c *Clock) Observe(date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aws, c.wall = date, wallClock()
}

// Now returns AWS's time. The result is false before the first response.
func (c *Clock) Now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aws.Add(wallClock().Sub(c.wall)), !c.aws.IsZero()
}

// wallClock returns the local time without its monotonic reading.
func wallClock() time.Time { return time.Now().Round(0) }
