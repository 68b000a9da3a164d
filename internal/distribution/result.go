// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is what came of a run, or has come of it so far.
type Result struct {
	Begun, Ended time.Time // Ended is zero while it goes on
	Failure      string    // why the run failed, as people read it; "" while it goes on and when it succeeded
	Destinations []DestinationResult
	Images       []CreatedImage
	Shares       []Shared
	Grants       []KeyGrantResult
	Steps        []StepResult
	Left         []RetainedResource
	LeftUSD      float64 // what Left costs a month, as USDPerMonth has it
	Source       []SourceImageResult
	Findings     []Finding
}

// DestinationEnd is how far a destination has come.
type DestinationResult struct {
	At       Location
	Target   string
	Optional bool
	State    State
	ImageID  string // "" until it is verified
}

// State of a destination.
type State string

const (
	Waiting              State = "waiting"
	Underway             State = "underway"
	DestinationSucceeded State = "served" // has its image, verified, and what was to name it does
	DestinationFailed    State = "failed"
	Excluded             State = "left out" // a finding forbade it before the run
)

// Made is an image that a target owns now.
type CreatedImage struct {
	At        Location
	Target    string
	ImageID   string
	Name      string
	Snapshots []MadeSnapshot
	Carried   []AttributeOutcome
	Pointers  []Pointer // what names it for others, or should
	Earlier   bool      `json:",omitempty"` // another run made it
}

// Published reports whether everything that was to name the image does.
func (m CreatedImage) Published() bool {
	return !slices.ContainsFunc(m.Pointers, func(p Pointer) bool { return !p.Set })
}

// Shared is an image of the source account that share blocks let others launch now.
type Shared struct {
	At      Location
	ImageID string
	With    LaunchPermissions
}

// MadeSnapshot is a snapshot of a made image, as verified after its completion.
type MadeSnapshot struct {
	Device     string
	SnapshotID string
	KeyARN     string
	GiB        int32
}

// Granted is a grant that stands, whether this run made it or one before it.
type KeyGrantResult struct {
	At         Location
	KeyARN     string
	Name       string
	Grantee    string   // ARN
	Operations []string // sorted
	GrantID    string
}

// For is what the grant allows, as people read it: "launches", or its operations.
func (g KeyGrantResult) For() string {
	if slices.Equal(g.Operations, LaunchOperations) {
		return "launches"
	}
	return strings.Join(g.Operations, ", ")
}

// Text is the grant as people read it: `grant "audit" for Decrypt, DescribeKey`.
func (g KeyGrantResult) Text() string { return fmt.Sprintf("grant %q for %s", g.Name, g.For()) }

// Ended is how a step ended: the time line.
type StepResult struct {
	Step         StepID
	At           Location
	Begun, Ended time.Time
	Made         string   // AWS id
	Skipped      bool     // something that it needs had failed
	Failure      *Finding // nil: it succeeded
}

// Leftover is something that stayed and should not have.
type RetainedResource struct {
	At       Location
	Kind     string // share, grant, snapshot, image, instance, volume
	Resource string
	GiB      int64 // that are stored for it, at full size; 0 for what stores nothing, and where it is not known
	Why      string
}

// USDPerMonth is what leftovers cost at list price as long as they stay, if every block of them is in use.
func USDPerMonth(left []RetainedResource) float64 {
	var gib int64
	for _, l := range left {
		gib += l.GiB
	}
	return float64(gib) * USDPerGiBMonth
}

// SourceEnd is in what state a source image was left.
type SourceImageResult struct {
	Region    string
	ImageID   string
	Protected bool // still under the deregistration protection that the run switched on
	Held      bool `json:",omitempty"` // by another block of the same build, which has failed: it stays
}

// AWS's list prices of us-east-1 (Amazon EBS pricing, snapshots): they tell the order of magnitude, since other Regions differ and AWS
// bills the blocks in use, not the size of the volume.
const (
	USDPerGiBMonth       = 0.05
	USDPerGiBTransferred = 0.02
)
