// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"time"
)

// Throughput limits of time-based copies in MiB per second: for one copy, and for all copies between two Regions (rule
// 4.8.2).
const (
	maxCopyThroughput       = 500.0
	maxRegionPairThroughput = 2000.0
)

// timeBasedCopy is a time-based copy in progress.
type timeBasedCopy struct {
	source     string // snapshot ID
	from, to   string // Regions
	ends       time.Time
	throughput float64 // reserved MiB per second
}

// isValidDuration reports whether a completion duration in minutes is valid (rule 4.8.1).
func isValidDuration(minutes int64) bool { return minutes >= 15 && minutes <= 2880 && minutes%15 == 0 }

func invalidDuration(minutes int64) *APIError {
	return badRequest("InvalidParameterValue",
		"'%d' is not a valid value for completion duration. Specify a value between 15 and 2880 minutes, in 15 minute "+
			"increments only", minutes)
}

// requiredThroughput returns the throughput in MiB per second that a copy needs to end in time.
func requiredThroughput(sizeGiB, minutes int32) float64 {
	return float64(sizeGiB) * 1024 / (float64(minutes) * 60)
}

// checkThroughputQuota returns the share of the requested throughput that the copies of a request get. If less than 1
// MiB per second is left, it refuses the request (rule 4.8.2). How AWS distributes the rest is unknown; here each copy
// gets the same share.
func (w *World) checkThroughputQuota(c *Call, from string, minutes int32, sources ...*snapshot) (float64, error) {
	loc, left, wanted := c.location(), maxRegionPairThroughput, 0.0
	w.timeBasedCopies[loc.account] = slices.DeleteFunc(
		w.timeBasedCopies[loc.account], func(t timeBasedCopy) bool { return !c.At.Before(t.ends) },
	)

	for _, other := range w.timeBasedCopies[loc.account] {
		if other.from == from && other.to == loc.region {
			left -= other.throughput
		}
	}

	if w.violates(c, "4.8.2", left < 1) {
		return 0, badRequest(
			"ResourceLimitExceeded", "The throughput quota for time-based copies from %s to %s is used up.", from, loc.region,
		)
	}

	for _, s := range sources {
		wanted += min(maxCopyThroughput, requiredThroughput(s.sizeGiB, minutes))
	}

	return min(1, left/wanted), nil
}

// scheduleTimeBasedCopy sets the duration of a time-based copy. It takes the requested time, or less if the data allows
// it, or longer with reduced throughput (rule 4.8.2). The duration of a second copy of the same snapshot starts when
// the first copy ends (rule 4.8.3).
func (w *World) scheduleTimeBasedCopy(c *Call, params snapshotCopyParams, created *snapshot) {
	asked := time.Duration(*params.durationMinutes) * time.Minute
	wanted := requiredThroughput(created.sizeGiB, *params.durationMinutes)
	took, speed := min(asked, created.progress.ends.Sub(c.At)), min(maxCopyThroughput, wanted)*params.throughputShare
	if speed < wanted {
		took = time.Duration(float64(created.sizeGiB) * 1024 / speed * float64(time.Second))
	}

	begins := c.At
	for _, other := range w.timeBasedCopies[created.location.account] {
		if other.source == params.sourceID && other.ends.After(begins) {
			begins = other.ends
		}
	}

	created.progress = progress{
		starts: begins.Add(took / 10), at99Percent: begins.Add(took * 9 / 10), ends: begins.Add(took),
	}

	w.timeBasedCopies[created.location.account] = append(
		w.timeBasedCopies[created.location.account],
		timeBasedCopy{params.sourceID, params.sourceRegion, created.location.region, created.progress.ends, speed},
	)
}
