// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"strings"
	"time"
)

// SnapshotJob describes the creation or the copy of a snapshot. Its duration may depend on each field.
type SnapshotJob struct {
	SnapshotID  string // ID of the new snapshot
	SourceID    string // ID of the source snapshot or volume
	Account     string // owner of the new snapshot
	Region      string
	FromRegion  string
	GiB         int32
	Incremental bool // copies only the data that an earlier snapshot lacks (rule 4.7.1)
}

// WithSnapshotDuration sets how long snapshots and copies take. The default is random: seconds for a copy of 1 GiB
// (rule 4.6.4), minutes for 8 GiB, about an hour for 500 GiB.
func WithSnapshotDuration(took func(SnapshotJob) time.Duration) Option {
	return func(w *World) { w.snapshotDuration = took }
}

// WithSlowClients sets how long a client takes for a call, in the world's time. Pending snapshots last at least that
// long. Otherwise a client could not see them if the world's clock runs faster than real time.
func WithSlowClients(call time.Duration) Option { return func(w *World) { w.clientCallTime = call } }

// CopySchedule is the course of a snapshot copy. The world knows it as soon as the copy starts, but no client can ask
// for it.
type CopySchedule struct {
	SnapshotJob
	Requested time.Time // time of the request
	Starts    time.Time // time of the first percent
	Ends      time.Time
}

// WithCopyScheduleFunc calls take with the schedule of every copy that will succeed, one at a time. The function must
// not call the world.
func WithCopyScheduleFunc(take func(CopySchedule)) Option {
	return func(w *World) { w.onCopyScheduled = take }
}

// progress is the progress of a snapshot as a function of time. It stays at 0 % until it starts, and may stay at 99 %
// for long.
type progress struct {
	starts, ends time.Time
	at99Percent  time.Time // time at which it reaches 99 %
}

// isDone reports whether the work has ended, with success or failure.
func (p progress) isDone(now time.Time) bool { return !now.Before(p.ends) }

// hasStarted reports whether the first percent is done.
func (p progress) hasStarted(now time.Time) bool { return !now.Before(p.starts) }

// percent returns the progress as EC2 shows it: 0 to 99 until the end, then 100.
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

// newProgress returns a random progress of a job that starts now. After an initial delay it copies the data. Some jobs
// take long for the last percent. Copies of 1 GiB take 4 to 25 seconds (rule 4.6.4), snapshots of volumes longer.
func (w *World) newProgress(now time.Time, job SnapshotJob) progress {
	head := w.randomDuration(job.SnapshotID+" head", 6*time.Second, 10*time.Second)
	data := w.randomDuration(job.SnapshotID+" data", time.Second, 3*time.Second)
	switch {
	case job.Incremental:
	case job.isCopy(): // 70 to 200 MiB per second
		data = time.Duration(job.GiB) * w.randomDuration(job.SnapshotID+" rate", 1024*time.Second/200, 1024*time.Second/70)
	default: // 200 to 500 MiB per second
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

// isCopy reports whether the job copies a snapshot. Otherwise it creates a snapshot of a volume.
func (j SnapshotJob) isCopy() bool { return strings.HasPrefix(j.SourceID, "snap-") }

// newFailureProgress returns a random time of failure. It is late enough that the call seems to have succeeded (rules
// 1.8.4 and 4.6.5).
func (w *World) newFailureProgress(now time.Time, id string) progress {
	took := w.randomDuration(id+" failure", 4*time.Second, 15*time.Second)
	return progress{starts: now.Add(took), at99Percent: now.Add(took), ends: now.Add(took)}
}

// randomDuration returns a duration between least and most.
func (w *World) randomDuration(what string, least, most time.Duration) time.Duration {
	return least + time.Duration(w.random("time", what)%uint64(most-least))
}
