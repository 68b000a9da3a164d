// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// NewID returns the ID of a step. It joins its kind and location with slashes.
func NewID(parts ...string) distribution.StepID {
	for i, part := range parts {
		parts[i] = strings.TrimPrefix(part, "/dev/")
	}
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

// of describes the snapshot of a device for the user, with its ID if it is known.
func (r Ref) of(device string) string {
	switch {
	case r.Known != "" && device != "":
		return r.Known + " (" + device + ")"
	case r.Known != "":
		return r.Known
	case strings.HasPrefix(string(r.From), "canary-copy/"):
		return "the copied " + device
	}
	return "the staged " + device
}

// image describes an image for the user.
func (r Ref) image() string {
	if r.Known != "" {
		return r.Known
	}
	if strings.HasPrefix(string(r.From), "stage/") {
		return "the staged image"
	}
	return "the new image"
}

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
	NotRepeatable    bool                  // ResumeID cannot be created again, because its source is no longer shared
}

// Step is one operation of a plan.
type Step interface {
	Meta() *Base
	Permissions() []Permission
	ResourceID() string // AWS id, ARN or name for findings. Empty if there is none yet
	String() string     // its line in the plan
}

// IsVerification reports whether a step must succeed before its destination has succeeded and its image is published.
func IsVerification(s Step) bool {
	switch s := s.(type) {
	case *VerifyImage, *RunInstance, *DeprecateImage, *EnableFastLaunch, *EnableDeregistrationProtection,
		*AssociateLicenseConfigurations:
		return true
	case *ShareImage:
		return s.Destination != (distribution.Location{}) // launch permissions of a copy
	case *CreateGrant:
		return s.Lasting
	}
	return false
}

// Meta returns the part of the step that the runner knows.
func (b *Base) Meta() *Base { return b }

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
