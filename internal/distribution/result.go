// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is the outcome of a run, or its state while it is in progress.
type Result struct {
	Begun, Ended time.Time // Ended is zero while the run is in progress
	Failure      string    // why the run failed; empty if it has not
	Destinations []DestinationResult
	Images       []CreatedImage
	Shares       []Shared
	Grants       []KeyGrantResult
	Steps        []StepResult
	Left         []RetainedResource
	LeftUSD      float64 // USDPerMonth of Left
	Source       []SourceImageResult
	Findings     []Finding
	Temporary    []TemporaryShare `json:"-"` // what the run shared for copies
	Usage        []ReleaseUsage   // with mode = "usage"
}

// TemporaryShare is a source image or one of its snapshots that a run shared until the copies are complete.
type TemporaryShare struct {
	At       Location
	Resource string
	Accounts []string
}

// DestinationResult is the state of a destination.
type DestinationResult struct {
	At       Location
	Target   string
	Optional bool
	State    State
	ImageID  string // empty until it is verified
}

// State of a destination.
type State string

// States of destinations.
const (
	Waiting              State = "pending"
	InProgress           State = "in_progress"
	DestinationSucceeded State = "succeeded" // its image is verified and published
	DestinationFailed    State = "failed"
	Excluded             State = "skipped" // a finding excluded it before the run
)

// CreatedImage is an image that a target owns.
type CreatedImage struct {
	At        Location
	Target    string
	ImageID   string
	Name      string
	Snapshots []CreatedSnapshot
	Carried   []AttributeOutcome
	Pointers  []Pointer // published references, created or not
	Earlier   bool      `json:",omitempty"` // an earlier run created it
}

// Published reports whether all references to the image are published, apart from those on hold.
func (i CreatedImage) Published() bool {
	return !slices.ContainsFunc(i.Pointers, func(p Pointer) bool { return !p.Set && !p.Held })
}

// Shared is an image of the source account that share blocks have shared.
type Shared struct {
	At       Location
	ImageID  string
	With     LaunchPermissions
	Pointers []Pointer // parameters of the share blocks
}

// CreatedSnapshot is a verified snapshot of a created image.
type CreatedSnapshot struct {
	Device     string
	SnapshotID string
	KeyARN     string
	GiB        int32
}

// KeyGrantResult is an existing grant, created by this or an earlier run.
type KeyGrantResult struct {
	At         Location
	KeyARN     string
	Name       string
	Grantee    string   // ARN
	Operations []string // sorted
	GrantID    string
}

// For returns what the grant allows: "launches", or its operations.
func (g KeyGrantResult) For() string {
	if slices.Equal(g.Operations, LaunchOperations) {
		return "launches"
	}
	return strings.Join(g.Operations, ", ")
}

// Text describes the grant: `grant "audit" for Decrypt, DescribeKey`.
func (g KeyGrantResult) Text() string { return fmt.Sprintf("grant %q for %s", g.Name, g.For()) }

// StepResult is the outcome of a step, for the timeline.
type StepResult struct {
	Step         StepID
	At           Location
	Begun, Ended time.Time
	Made         string   // AWS id
	Skipped      bool     // a dependency failed
	Failure      *Finding // nil if it succeeded
}

// RetainedResource is a resource that could not be deleted.
type RetainedResource struct {
	At       Location
	Kind     string // share, grant, snapshot, image, instance, volume
	Resource string
	GiB      int64 // full size; 0 if it stores nothing or the size is unknown
	Why      string
}

// Reasons why a resource is kept for a resumed run.
const (
	KeptCompleted  = "completed; a resumed run continues with it"
	KeptPending    = "AWS is still creating it; a resumed run continues with it"
	KeptRegistered = "verified, but not by a launch; a resumed run continues with it"
)

// IsKept reports whether the resource stays because a resumed run continues with it.
func (r RetainedResource) IsKept() bool {
	return strings.HasSuffix(r.Why, "a resumed run continues with it")
}

// USDPerMonth returns what retained resources cost at list price if every block is in use.
func USDPerMonth(resources []RetainedResource) float64 {
	var gib int64
	for _, r := range resources {
		gib += r.GiB
	}
	return float64(gib) * USDPerGiBMonth
}

// SourceImageResult is the state of a source image after the run.
type SourceImageResult struct {
	Region    string
	ImageID   string
	Protected bool // the deregistration protection that the run enabled is still on
	Held      bool `json:",omitempty"` // another run needs the protection, so it stays
	Missing   bool `json:"-"`          // AWS does not show the image

	CreatedAt time.Time `json:"-"` // zero if the run has not read it yet
}

// List prices of us-east-1 (Amazon EBS pricing, snapshots). They give the order of magnitude: other Regions differ, and
// AWS bills the blocks in use, not the size of the volume.
const (
	USDPerGiBMonth       = 0.05
	USDPerGiBTransferred = 0.02
)
