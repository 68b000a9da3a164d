// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

var watched = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// begun returns a copy that started some time ago, has an expected duration of an hour, and has reached a percentage.
func begun(ago time.Duration, percent int, of distribution.Location) *watchedCopy {
	since := watched.Add(-ago)
	return &watchedCopy{
		watchedSince:        since,
		startedAt:           since,
		lastWithoutProgress: since,
		expectedDuration:    time.Hour,
		percent:             percent,
		destination:         of,
	}
}

func TestWatch_firstAndLastPoll(t *testing.T) {
	o := Options{PollInterval: 15 * time.Second}
	for name, c := range map[string]struct {
		copy *watchedCopy
		want time.Duration
	}{
		"just begun":                 {begun(0, 0, distribution.Location{}), 30 * time.Second},
		"not moved for four minutes": {begun(4*time.Minute, 0, distribution.Location{}), 4 * time.Minute},
		"half done":                  {begun(10*time.Minute, 50, distribution.Location{}), 270 * time.Second},
		"nearly done": {
			begun(4*time.Minute, 95, distribution.Location{}),
			24*time.Second + 632*time.Millisecond,
		},
		"standing at its end": {
			begun(100*time.Minute, 99, distribution.Location{}),
			154*time.Second + 545*time.Millisecond,
		},
		"overdue, and never moved yet": {begun(2*time.Hour, 0, distribution.Location{}), maxPollInterval},
	} {
		if got := c.copy.pollDelay(watched, o); got.Round(time.Millisecond) != c.want {
			t.Errorf("%s: the next look is in %v, want %v", name, got, c.want)
		}
	}
}

func TestWatch_pollInterval(t *testing.T) {
	o := Options{PollInterval: 15 * time.Second, CopyTimeout: time.Hour}
	for left, want := range map[time.Duration]time.Duration{
		2 * time.Minute: 2*time.Minute + time.Millisecond,
		time.Second:     o.PollInterval,
		-time.Second:    o.PollInterval,
	} {
		if got := begun(o.CopyTimeout-left, 0, distribution.Location{}).pollDelay(watched, o); got != want {
			t.Errorf("%v before copy_timeout the next look is in %v, want %v", left, got, want)
		}
	}
}

func TestWatch_lastCopyOfImage(t *testing.T) {
	one, other := distribution.Location{Account: "999999999999", Region: "us-west-2"}, distribution.Location{}
	v := &groupWatch{copies: map[string]*watchedCopy{
		"short": begun(
			10*time.Minute,
			90,
			one,
		),
		"long":   begun(10*time.Minute, 10, one),
		"young":  begun(10*time.Second, 0, one),
		"staged": begun(10*time.Minute, 80, other),
	}}
	count := func() map[*watchedCopy]bool {
		seen := map[*watchedCopy]bool{}
		for _, p := range v.copiesToPoll(watched) {
			seen[p] = true
		}
		return seen
	}
	if got := count(); len(got) != 3 || got[v.copies["short"]] {
		t.Errorf("%d copies set the pace, the short one among them: %v", len(got), got[v.copies["short"]])
	}
	v.isSaturated = true
	if got := count(); len(got) != 4 {
		t.Errorf("where capacity is scarce %d copies set the pace, want all 4", len(got))
	}
}
