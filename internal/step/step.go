// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// id makes a step's id of its kind and its place.
func NewID(parts ...string) distribution.StepID {
	for i, part := range parts {
		parts[i] = strings.TrimPrefix(part, "/dev/")
	}
	return distribution.StepID(strings.Join(parts, "/"))
}

// imageLanes begins the names of the lanes of image copies: AWS has more room in them than in those of snapshot copies.
const imageCopyQueues = "image/"

// imageLane is where AWS counts concurrent image copies: per account and destination Region (4.1.2).
func ImageCopyQueue(at distribution.Location) string {
	return imageCopyQueues + at.Account + "/" + at.Region
}

// copyLane is where AWS counts concurrent snapshot copies: per account and destination Region (4.1.1).
func SnapshotCopyQueue(at distribution.Location) string {
	return "copy/" + at.Account + "/" + at.Region
}

// RoomOf is how many copies AWS lets be on their way in a lane at once: of snapshots (4.1.1), of images (4.1.2).
func QueueLimit(lane string) int {
	if strings.HasPrefix(lane, imageCopyQueues) {
		return 300
	}
	return 20
}

// RateOfLane is how many MiB a second an account's time-based copies to a Region move at most (4.8.2). AWS counts each Region that they come from
// by itself; the copies of a destination all come from one.
const QueueRate = 2000

// Admits reports whether there is room in a lane for one more step beside so many that move so much. One that asks alone for more than there is gets
// all of it, and takes longer than it was to.
func (h *Base) Admits(room, steps, rate int) bool {
	return steps < room && (h.Rate == 0 || rate == 0 || rate+h.Rate <= QueueRate)
}

// Ref is an AWS id, or the step that will have made it.
type Ref struct {
	Known string
	From  distribution.StepID // stands in Needs or After of the step that holds the Ref
	// Device of the image that From made: the snapshot that it starts from. "": what From made itself.
	Device string
}

func (r Ref) String() string {
	if r.Known != "" {
		return r.Known
	}
	return strings.TrimSuffix("<"+string(r.From)+" "+r.Device, " ") + ">"
}

// of names a device's snapshot for people: by its id where there is one.
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

// image names an image for people.
func (r Ref) image() string {
	if r.Known != "" {
		return r.Known
	}
	if strings.HasPrefix(string(r.From), "stage/") {
		return "the staged image"
	}
	return "the new image"
}

// Right is a permission that a step takes: an IAM or KMS action on a resource.
type Permission struct {
	Action   string // "ec2:CopySnapshot"
	Resource string // ARN, with wildcards where the id is not known before
	Rule     string // source of the fact: "3.1.4"
}

// Head is all that the runner knows of a step.
type Base struct {
	ID               distribution.StepID
	Location         distribution.Location
	Destination      distribution.Location // the destination whose failure stays its own; zero: every destination's
	DependsOn        []distribution.StepID // must have succeeded
	RunsAfter        []distribution.StepID // must have ended, either way
	ExpectedDuration time.Duration         // expected; the runner starts the longest remaining path first
	Queue            string                // what AWS limits (4.1.1); "" is free
	Rate             int                   // MiB a second that it takes of its lane (4.8.2); 0: that does not count
	ResumeID         string                // an earlier run's unfinished work: wait for it, make nothing
	NotRepeatable    bool                  // what was found cannot be made again: what it is made of is shared no more
}

// Step is one act of a plan.
type Step interface {
	Meta() *Base
	Permissions() []Permission
	ResourceID() string // what a finding about it names: an AWS id, ARN or name; "" while there is none
	String() string     // its line in the plan
}

// Proves reports a step that has to succeed before its destination is served, and anything may point at its image.
func IsVerification(s Step) bool {
	switch s := s.(type) {
	case *VerifyImage, *RunInstance, *DeprecateImage, *EnableFastLaunch, *EnableDeregistrationProtection, *AssociateLicenseConfigurations:
		return true
	case *ShareImage:
		return s.Destination != (distribution.Location{}) // of the destination's own image
	case *CreateGrant:
		return s.Lasting
	}
	return false
}

// Base gives the runner its part of a step.
func (h *Base) Meta() *Base { return h }

// Remaining is the longest expected time from the start of each step to the end of the run.
func Remaining(steps []Step) map[distribution.StepID]time.Duration {
	left := make(map[distribution.StepID]time.Duration, len(steps))
	for i := len(steps) - 1; i >= 0; i-- { // every step stands after what it waits for
		h := steps[i].Meta()
		left[h.ID] += h.ExpectedDuration
		for _, waited := range [][]distribution.StepID{h.DependsOn, h.RunsAfter} {
			for _, id := range waited {
				left[id] = max(left[id], left[h.ID])
			}
		}
	}
	return left
}
