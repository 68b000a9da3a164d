// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"strings"
	"time"
)

// SnapshotJob is the making of a snapshot's data, from a volume or by copy: what its duration may depend on.
type SnapshotJob struct {
	SnapshotID  string // of the new snapshot
	SourceID    string // a snapshot's, or a volume's
	Account     string // of the new snapshot
	Region      string
	FromRegion  string
	GiB         int32
	Incremental bool // only what is new since an earlier one is moved (4.7.1)
}

// WithSnapshotDuration fixes how long snapshots and copies take. By default it is drawn: for copies seconds where it is
// 1 GiB (4.6.4), minutes for 8, an hour or so for 500.
func WithSnapshotDuration(took func(SnapshotJob) time.Duration) Option {
	return func(w *World) { w.snapshotDuration = took }
}

// WithSlowClients says how long a client takes for a call, in the world's time. Where the world's clock runs much
// faster than its clients, a snapshot of a volume and the beginning of a copy last long enough to be seen by them.
func WithSlowClients(call time.Duration) Option { return func(w *World) { w.clientCallTime = call } }

// CopySchedule is how a copy of a snapshot went on, or will: the world's own draws, which no client can ask for.
type CopySchedule struct {
	SnapshotJob
	Requested time.Time // when it was asked for
	Starts    time.Time // when its first percent is there
	Ends      time.Time
}

// WithCopyScheduleFunc hands the course of every copy that ends well to take as soon as it is drawn, one at a time.
// take must not call the world.
func WithCopyScheduleFunc(take func(CopySchedule)) Option {
	return func(w *World) { w.onCopyScheduled = take }
}

// progress is how the making of something goes on: nothing until it starts, then percent by percent, and a stand before
// the end that some make long.
type progress struct {
	starts, ends time.Time
	at99Percent  time.Time // at 99 percent
}

// isDone reports whether it is over, for good or bad.
func (p progress) isDone(now time.Time) bool { return !now.Before(p.ends) }

// hasStarted reports whether it has begun.
func (p progress) hasStarted(now time.Time) bool { return !now.Before(p.starts) }

// percent is what EC2 shows: 0 to 99 until the end, then 100.
func (p progress) percent(now time.Time) string {
	switch {
	case p.isDone(now):
		return "100%"
	case !p.hasStarted(now):
		return "0%"
	case !now.Before(p.at99Percent):
		return "99%"
	}
	return fmt.Sprintf("%d%%", 99*now.Sub(p.starts)/p.at99Percent.Sub(p.starts))
}

// newProgress draws how a job goes on that begins now: a time in which nothing moves, then the data, of which some jobs
// take the last percent slowly. Copies of 1 GiB take their 4 to 25 seconds (4.6.4), snapshots of volumes a little
// longer.
func (w *World) newProgress(now time.Time, job SnapshotJob) progress {
	head := w.randomDuration(job.SnapshotID+" head", 6*time.Second, 10*time.Second)
	data := w.randomDuration(job.SnapshotID+" data", time.Second, 3*time.Second)
	switch {
	case job.Incremental:
	case job.isCopy(): // 70 to 200 MiB a second
		data = time.Duration(job.GiB) * w.randomDuration(job.SnapshotID+" rate", 1024*time.Second/200, 1024*time.Second/70)
	default: // 200 to 500 MiB a second
		head += 14 * time.Second
		data = time.Duration(job.GiB) * w.randomDuration(job.SnapshotID+" rate", 1024*time.Second/500, 1024*time.Second/200)
	}

	if w.snapshotDuration != nil {
		took := max(w.snapshotDuration(job), 4)
		head, data = took/4, took-took/4
	}

	if job.isCopy() {
		head = max(head, 10*w.clientCallTime)
	} else {
		head = max(head, 60*w.clientCallTime)
	}

	slow := data / 20
	if w.random("slow", job.SnapshotID)%6 == 0 {
		slow = data / 3
	}

	starts := now.Add(head)
	return progress{starts: starts, at99Percent: starts.Add(data - slow), ends: starts.Add(data)}
}

// isCopy reports whether the job is a copy; else it is the snapshot of a volume.
func (j SnapshotJob) isCopy() bool { return strings.HasPrefix(j.SourceID, "snap-") }

// newFailureProgress draws when something fails that was accepted: late enough to be taken for a success (1.8.4,
// 4.6.5).
func (w *World) newFailureProgress(now time.Time, id string) progress {
	took := w.randomDuration(id+" failure", 4*time.Second, 15*time.Second)
	return progress{starts: now.Add(took), at99Percent: now.Add(took), ends: now.Add(took)}
}

// randomDuration draws a time.
func (w *World) randomDuration(what string, least, most time.Duration) time.Duration {
	return least + time.Duration(w.random("time", what)%uint64(most-least))
}
