// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "time"

// Clock is a clock that runs at a multiple of the real one's speed, from the moment it was started.
type Clock struct {
	start time.Time
	speed float64
}

// StartClock starts a clock.
func StartClock(speed float64) Clock { return Clock{time.Now(), speed} }

// Now is what the clock shows.
func (c Clock) Now() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.start)) * c.speed))
}

// RealTime is the real time when the clock shows a moment.
func (c Clock) RealTime(view time.Time) time.Time {
	return c.start.Add(time.Duration(float64(view.Sub(c.start)) / c.speed))
}
