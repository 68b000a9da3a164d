// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"time"
)

// Event is something that moved during a run.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Step     StepID
	At       Location
	Resource string    // AWS id, "" when there is none yet
	Percent  int       // 0 to 100; -1 when AWS shows none
	GiB      int64     // size of what moves; 0 when it is no copy
	ETA      time.Time // expected end; zero when unknown
	Text     string    // one line for people
}

// EventKind says what an Event is about; it is also the name in Packer's machine-readable lines.
type EventKind string

const (
	Begun      EventKind = "begun"
	Progressed EventKind = "progress"
	Finished   EventKind = "finished"
	Failed     EventKind = "failed"
	Skipped    EventKind = "skipped"
	Noted      EventKind = "note"
)

// ID names a step: "copy/999999999999/eu-west-1/xvda".
type StepID string
