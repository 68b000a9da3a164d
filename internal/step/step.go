// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package step holds the kinds of steps of a plan. Each file has one kind, named after its AWS operation.
package step

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// NewID returns the ID of a step. It joins its kind and location with slashes.
func NewID(parts ...string) distribution.StepID {
	return distribution.StepID(strings.Join(parts, "/"))
}

// imageCopyQueues is the prefix of the queues of image copies. AWS allows more of them than of snapshot copies.
const imageCopyQueues = "image/"

// ImageCopyQueue returns the queue of image copies, which AWS limits per account and destination Region (4.1.2).
func ImageCopyQueue(at distribution.Location) string {
	return imageCopyQueues + at.Account + "/" + at.Region
}

// SnapshotCopyQueue returns the queue of snapshot copies, which AWS limits per account and destination Region
// (4.1.1).
func SnapshotCopyQueue(at distribution.Location) string {
	return "copy/" + at.Account + "/" + at.Region
}

// QueueLimit returns how many copies of a queue AWS allows at once: of snapshots (4.1.1) or of images (4.1.2).
func QueueLimit(queue string) int {
	if strings.HasPrefix(queue, imageCopyQueues) {
		return 300
	}
	return 20
}

// QueueRate is the maximum MiB/s of an account's time-based copies to a Region (4.8.2). AWS applies it to each source
// Region. All copies of a destination come from one.
const QueueRate = 2000

// FitsInQueue reports whether the step can start, given the limit of its queue and what its running steps use. A step
// that needs more than QueueRate starts alone, and takes longer than expected.
func (b *Base) FitsInQueue(limit, steps, rate int) bool {
	fitsRate := b.Rate == 0 || rate == 0 || rate+b.Rate <= QueueRate
	return steps < limit && fitsRate
}

// Ref refers to a resource by its AWS ID, or by the step that creates it.
type Ref struct {
	Known string
	From  distribution.StepID // a dependency of the step that has the Ref

	// Device selects the snapshot of a device if From creates an image. Empty for the image itself.
	Device string
}

func (r Ref) String() string {
	if r.Known != "" {
		return r.Known
	}
	return strings.TrimSuffix("<"+string(r.From)+" "+r.Device, " ") + ">"
}

// stagedSnapshot describes the snapshot of a device for the user, with its ID if it is known.
func (r Ref) stagedSnapshot(device string) string { return r.snapshot("the staged "+device, device) }

// snapshot describes the snapshot of a device for the user. unknown is its description until its ID is known.
func (r Ref) snapshot(unknown, device string) string {
	switch {
	case r.Known != "" && device != "":
		return r.Known + " (" + device + ")"
	case r.Known != "":
		return r.Known
	}
	return unknown
}

// stagedImage returns how messages name an image of the source account: by its ID, if it is known.
func (r Ref) stagedImage() string { return cmp.Or(r.Known, "the staged image") }

// Permission is a permission that a step needs: an IAM or KMS action on a resource.
type Permission struct {
	Action   string // "ec2:CopySnapshot"
	Resource string // ARN, with wildcards if the id is not known in advance
	Rule     string // source of the fact: "3.1.4"
}

// Base holds everything that the runner knows about a step.
type Base struct {
	ID               distribution.StepID
	Location         distribution.Location
	Destination      distribution.Location // that fails with the step. Zero if all destinations do
	DependsOn        []distribution.StepID // must have succeeded
	RunsAfter        []distribution.StepID // must have ended, with or without success
	ExpectedDuration time.Duration         // the runner starts the longest remaining path first
	Queue            string                // limited by AWS (rule 4.1.1). Empty if nothing limits the step
	Rate             int                   // MiB/s of its queue that the step uses (4.8.2); 0 without time-based copy
	ResumeID         string                // unfinished resource of an earlier run to wait for. Empty if there is none
	IsResumeComplete bool                  // ResumeID is completed, so there is nothing to wait for
	NotRepeatable    bool                  // ResumeID cannot be created again, because its source is no longer shared
}

// Step is one operation of a plan, with what depends on its kind. The functions that execute it are not methods: see
// operation. Base has the methods that most kinds have in common.
type Step interface {
	Meta() *Base
	Permissions() []Permission
	ResourceID() string // AWS id, ARN or name for findings. Empty if there is none yet
	String() string     // its line in the plan

	// Doing returns what the step does, starting with a present participle, as in Packer's own output. Empty for a step
	// that changes nothing that a user requested.
	Doing(w Words) string

	// Summary returns how the step is counted with others of its kind.
	Summary() Summary

	// Role returns what the step is to its destination.
	Role() Role

	// Subject refers to the resource that the step shares, withdraws or deletes. Zero for other steps.
	Subject() Ref

	// Audience returns with whom the step shares: account ids, and ARNs of organizations and units.
	Audience() []string

	// Pointer returns the reference that the step publishes. False if it publishes none.
	Pointer() (distribution.Pointer, bool)

	// PolicyCondition returns the condition for an action in docs/policies, if the step determines it. Nil if the action
	// has none. The result is false if the step does not determine the condition.
	PolicyCondition(action string) (distribution.Condition, bool)

	// Result returns what the outcome of the step contributes to the result of the run.
	Result(o Outcome) Result
}

// Role is what a step is to its destination, or to the run if it has none.
type Role int

// The roles of steps.
const (
	Prepares       Role = iota // any other step
	PreparesTest               // creates the empty snapshot of the test copies
	CopiesTest                 // copies the empty snapshot to a destination
	VerifiesTest               // verifies the copy of the empty snapshot
	VerifiesImage              // compares the image with what was requested
	CompletesImage             // verifies or changes the image before it is published
	Publishes                  // publishes the image
	RemovesRelease             // removes an image of an earlier release
)

// IsVerification reports whether the step must succeed before its destination has succeeded and its image is
// published.
func (r Role) IsVerification() bool { return r == VerifiesImage || r == CompletesImage }

// IsTest reports whether the step creates, copies or verifies the empty snapshot of the test copies.
func (r Role) IsTest() bool { return r == PreparesTest || r == CopiesTest || r == VerifiesTest }

// Granting is a step that creates a grant.
type Granting interface {
	Step
	Granted() distribution.KeyGrantResult // without its ID
	IsLasting() bool                      // the grant is a result of the run and stays
}

// Launching is a step that launches an instance of an image to check it.
type Launching interface {
	Step
	LaunchedType() string // "t3.nano"
}

// Holding is a step that waits until the images of several destinations are verified.
type Holding interface {
	Step
	HeldDestinations() int
}

// Words are the names that a report has for resources, accounts and keys.
type Words interface {
	Location(at distribution.Location) string
	Account(at distribution.Location) string
	Accounts(accounts []string, region string) string
	Audience(with distribution.LaunchPermissions, region string) string
	Key(arn string) string
	ID(r Ref) string // AWS id of a reference. Empty if nothing was created yet
	Snapshot(r Ref, device string, gib int64) string
	Image(r Ref) string
	WhereTo(destination, at distribution.Location) string
}

// Summary is how steps of one kind are counted. Zero for a step that summaries leave out.
type Summary struct {
	Phrase   Phrase   // in the plan
	Cleanup  Phrase   // on the screen, for steps that remove what a run no longer needs
	Accounts []string // with which the step shares, or from which it withdraws
	IsShare  bool
	KeyARN   string // that it copies with. Empty if it copies nothing
}

// Count returns the text for a number of steps.
func (p Phrase) Count(n int) string {
	if p.Singular == "" {
		return p.Text
	}
	return fmt.Sprintf(p.Text, distribution.Count(n, p.Singular, cmp.Or(p.Plural, p.Singular+"s")))
}

// publicationSummary returns the summary of steps that publish an image.
func publicationSummary() Summary {
	return Summary{Phrase: Phrase{
		Text:     "update %s",
		Singular: distribution.PublishTarget,
		Plural:   distribution.PublishTargetPlural,
	}}
}

// attributeSummary returns the summary of steps that change attributes of an image.
func attributeSummary() Summary { return Summary{Phrase: Phrase{Text: "set attributes"}} }

// Phrase is a text for a number of steps of one kind.
type Phrase struct {
	Text             string // with %s for the number and what is counted: "copy %s"
	Singular, Plural string // what is counted. Plural is empty if it has an s at its end
}

// Result is what the outcome of a step contributes to the result of a run.
type Result struct {
	Image *distribution.CreatedImage // verified. Its pointers and attributes are those of the plan
	Grant *distribution.KeyGrantResult
	Share *distribution.Shared
	// Temporary is a permission on a source image or its snapshot that ends with the run
	Temporary *distribution.TemporaryShare
	Findings  []distribution.Finding
	Removed   string           // ID of a resource that is gone
	Created   *CreatedResource // a resource that may be retained. Nil if the step created none
	Retained  *distribution.RetainedResource
	GiB       map[string]int64 // sizes of copies, by snapshot ID
}

// CreatedResource is a resource that a step created. The result lists it as retained, unless it was removed, is shared
// permanently, or belongs to a destination whose image was verified.
type CreatedResource struct {
	distribution.RetainedResource
	Destination distribution.Location // zero if the resource is temporary
}

// newCreatedResource returns what a step created. Nil if it created nothing.
func newCreatedResource(
	b *Base, kind string, o Outcome, why string, destination distribution.Location,
) *CreatedResource {
	if o.ID == "" {
		return nil
	}
	created := distribution.RetainedResource{At: b.Location, Kind: kind, Resource: o.ID, Why: why}
	return &CreatedResource{RetainedResource: created, Destination: destination}
}

// deletionResult returns the result of a step that deletes a resource. It is retained if the step never started and
// an earlier run created the resource.
func deletionResult(b *Base, kind, known string, o Outcome) Result {
	switch {
	case o.Err == nil:
		return Result{Removed: o.ID}
	case errors.Is(o.Err, ErrSkipped) && known != "":
		return Result{Retained: &distribution.RetainedResource{
			At:       b.Location,
			Kind:     kind,
			Resource: known,
			Why:      "of an earlier run; the next run continues with it or deletes it",
		}}
	}
	return Result{}
}

// resuming returns what a step does with the copy of an earlier run.
func (b *Base) resuming(resource, where string) string {
	if b.IsResumeComplete {
		return "Using " + resource + ", which an earlier run copied, " + where
	}
	return "Waiting for " + resource + ", which an earlier run started, " + where
}

// Meta returns the part of the step that the runner knows.
func (b *Base) Meta() *Base { return b }

// Doing returns nothing, because most kinds that have no text do nothing that a user asked for.
func (b *Base) Doing(Words) string { return "" }

// Summary returns nothing, so that summaries leave the step out.
func (b *Base) Summary() Summary { return Summary{} }

// Role returns Prepares.
func (b *Base) Role() Role { return Prepares }

// Subject returns nothing.
func (b *Base) Subject() Ref { return Ref{} }

// Audience returns nothing, because most steps share nothing.
func (b *Base) Audience() []string { return nil }

// Pointer returns nothing, because most steps publish nothing.
func (b *Base) Pointer() (distribution.Pointer, bool) { return distribution.Pointer{}, false }

// PolicyCondition returns nothing.
func (b *Base) PolicyCondition(string) (distribution.Condition, bool) { return nil, false }

// Result returns nothing, because most steps change only what others created.
func (b *Base) Result(Outcome) Result { return Result{} }

// Remaining returns the longest expected duration from the start of each step to the end of the run. The steps must
// be sorted by their dependencies.
func Remaining(steps []Step) map[distribution.StepID]time.Duration {
	remaining := make(map[distribution.StepID]time.Duration, len(steps))
	for _, s := range slices.Backward(steps) {
		b := s.Meta()
		remaining[b.ID] += b.ExpectedDuration
		for _, id := range slices.Concat(b.DependsOn, b.RunsAfter) {
			remaining[id] = max(remaining[id], remaining[b.ID])
		}
	}
	return remaining
}
