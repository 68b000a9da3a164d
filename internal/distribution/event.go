// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import "time"

// Event reports the progress of a run.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Step     StepID
	At       Location
	Resource string    // AWS id; empty if there is none yet
	Percent  int       // 0 to 100; -1 if AWS reports none
	GiB      int64     // size of a copy; 0 if it is not a copy
	ETA      time.Time // expected end; zero if unknown
	Text     string    // one line for the user
}

// EventKind is the kind of an Event.
type EventKind string

// Kinds of events.
const (
	Begun      EventKind = "begun"
	Progressed EventKind = "progress"
	Finished   EventKind = "finished"
	Failed     EventKind = "failed"
	Skipped    EventKind = "skipped"
	Noted      EventKind = "note"
	Retrying   EventKind = "retrying" // Text is the reason, ETA is the time of the last attempt
	Blocked    EventKind = "blocked"  // by another run. Text says by which, ETA is when the step gives up
)

// StepID identifies a step: "copy/999999999999/eu-west-1/xvda".
type StepID string
