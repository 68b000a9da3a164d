// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Event is something that moved during a run.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Step     ID
	At       Place
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

// Result is what came of a run, or has come of it so far.
type Result struct {
	Begun, Ended time.Time // Ended is zero while it goes on
	Failure      string    // why the run failed, as people read it; "" while it goes on and when it succeeded
	Destinations []DestinationEnd
	Images       []Made
	Shares       []Shared
	Grants       []Granted
	Steps        []Ended
	Left         []Leftover
	LeftUSD      float64 // what Left costs a month, as USDPerMonth has it
	Source       []SourceEnd
	Findings     []Finding
}

// DestinationEnd is how far a destination has come.
type DestinationEnd struct {
	At       Place
	Target   string
	Optional bool
	State    State
	ImageID  string // "" until it is verified
}

// State of a destination.
type State string

const (
	Waiting  State = "waiting"
	Underway State = "underway"
	Served   State = "served" // has its image, verified, and what was to name it does
	Unserved State = "failed"
	Excluded State = "left out" // a finding forbade it before the run
)

// Made is an image that a target owns now.
type Made struct {
	At        Place
	Target    string
	ImageID   string
	Name      string
	Snapshots []MadeSnapshot
	Carried   []Carried
	Pointers  []Pointer // what names it for others, or should
	Earlier   bool      `json:",omitempty"` // another run made it
}

// Published reports whether everything that was to name the image does.
func (m Made) Published() bool {
	return !slices.ContainsFunc(m.Pointers, func(p Pointer) bool { return !p.Set })
}

// Shared is an image of the source account that share blocks let others launch now.
type Shared struct {
	At      Place
	ImageID string
	With    Audience
}

// MadeSnapshot is a snapshot of a made image, as verified after its completion.
type MadeSnapshot struct {
	Device     string
	SnapshotID string
	KeyARN     string
	GiB        int32
}

// Granted is a grant that stands, whether this run made it or one before it.
type Granted struct {
	At         Place
	KeyARN     string
	Name       string
	Grantee    string   // ARN
	Operations []string // sorted
	GrantID    string
}

// For is what the grant allows, as people read it: "launches", or its operations.
func (g Granted) For() string {
	if slices.Equal(g.Operations, launchOperations) {
		return "launches"
	}
	return strings.Join(g.Operations, ", ")
}

// Text is the grant as people read it: `grant "audit" for Decrypt, DescribeKey`.
func (g Granted) Text() string { return fmt.Sprintf("grant %q for %s", g.Name, g.For()) }

// Ended is how a step ended: the time line.
type Ended struct {
	Step         ID
	At           Place
	Begun, Ended time.Time
	Made         string   // AWS id
	Skipped      bool     // something that it needs had failed
	Failure      *Finding // nil: it succeeded
}

// Leftover is something that stayed and should not have.
type Leftover struct {
	At       Place
	Kind     string // share, grant, snapshot, image, instance, volume
	Resource string
	GiB      int64 // that are stored for it, at full size; 0 for what stores nothing, and where it is not known
	Why      string
}

// USDPerMonth is what leftovers cost at list price as long as they stay, if every block of them is in use.
func USDPerMonth(left []Leftover) float64 {
	var gib int64
	for _, l := range left {
		gib += l.GiB
	}
	return float64(gib) * usdPerGiBMonth
}

// SourceEnd is in what state a source image was left.
type SourceEnd struct {
	Region    string
	ImageID   string
	Protected bool // still under the deregistration protection that the run switched on
	Held      bool `json:",omitempty"` // by another block of the same build, which has failed: it stays
}
