// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "time"

// Clock runs at a multiple of real time from its start.
type Clock struct {
	start time.Time
	speed float64
}

// StartClock returns a clock that starts now.
func StartClock(speed float64) Clock { return Clock{time.Now(), speed} }

// Now returns the time of the clock.
func (c Clock) Now() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.start)) * c.speed))
}

// RealTime returns the real time at a time of the clock.
func (c Clock) RealTime(view time.Time) time.Time {
	return c.start.Add(time.Duration(float64(view.Sub(c.start)) / c.speed))
}
