// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"time"
)

// Throughput of time-based copies, in MiB a second: of one copy, and of all from one Region to another (4.8.2).
const (
	mostOfOneCopy = 500.0
	mostOfRegions = 2000.0
)

// timedCopy is a time-based copy of an account's that is on its way.
type timedCopy struct {
	source   string // snapshot
	from, to string // Regions
	ends     time.Time
	speed    float64 // MiB a second that are reserved for it
}

// validDuration judges the completion duration of a time-based copy, in minutes (4.8.1).
func validDuration(minutes int64) bool { return minutes >= 15 && minutes <= 2880 && minutes%15 == 0 }

func badDuration(minutes int64) *Refusal {
	return invalid("InvalidParameterValue",
		"'%d' is not a valid value for completion duration. Specify a value between 15 and 2880 minutes, in 15 minute increments only", minutes)
}

// speedFor is the throughput with which so much is copied in the time that is asked for.
func speedFor(gib, minutes int32) float64 { return float64(gib) * 1024 / (float64(minutes) * 60) }

// admitTimed is how much of the throughput that the time-based copies of one request ask for they get; 1 is all of it. Where less than one MiB a
// second is left the request is refused, and nothing is made (4.8.2). What does not suffice is shared out in proportion, which is our choice.
func (w *World) admitTimed(c *Call, from string, minutes int32, sources ...*snapshot) (float64, error) {
	at, left, wanted := c.place(), mostOfRegions, 0.0
	w.timed[at.account] = slices.DeleteFunc(w.timed[at.account], func(t timedCopy) bool { return !c.At.Before(t.ends) })
	for _, other := range w.timed[at.account] {
		if other.from == from && other.to == at.region {
			left -= other.speed
		}
	}
	if w.breaks(c, "4.8.2", left < 1) {
		return 0, invalid("ResourceLimitExceeded", "The throughput quota for time-based copies from %s to %s is used up.", from, at.region)
	}
	for _, s := range sources {
		wanted += min(mostOfOneCopy, speedFor(s.gib, minutes))
	}
	return min(1, left/wanted), nil
}

// scheduleTimed lets a time-based copy take the time that was asked for, or less if it takes less anyway; more where the throughput that it gets
// does not suffice (4.8.2). The time of a second copy that an account makes of the same snapshot begins when the first has ended (4.8.3).
func (w *World) scheduleTimed(c *Call, order copyOrder, made *snapshot) {
	asked, wanted := time.Duration(*order.minutes)*time.Minute, speedFor(made.gib, *order.minutes)
	took, speed := min(asked, made.progress.ends.Sub(c.At)), min(mostOfOneCopy, wanted)*order.share
	if speed < wanted {
		took = time.Duration(float64(made.gib) * 1024 / speed * float64(time.Second))
	}
	begins := c.At
	for _, other := range w.timed[made.home.account] {
		if other.source == order.sourceID && other.ends.After(begins) {
			begins = other.ends
		}
	}
	made.progress = progress{starts: begins.Add(took / 10), almost: begins.Add(took * 9 / 10), ends: begins.Add(took)}
	w.timed[made.home.account] = append(w.timed[made.home.account], timedCopy{order.sourceID, order.sourceRegion, made.home.region, made.progress.ends, speed})
}
