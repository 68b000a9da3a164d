// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"
	"time"
)

// ID names a step: "copy/999999999999/eu-west-1/xvda".
type StepID string

// Ref is an AWS id, or the step that will have made it.
type Ref struct {
	Known string
	From  StepID // stands in Needs or After of the step that holds the Ref
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
	ID               StepID
	Location         Location
	Destination      Location      // the destination whose failure stays its own; zero: every destination's
	DependsOn        []StepID      // must have succeeded
	RunsAfter        []StepID      // must have ended, either way
	ExpectedDuration time.Duration // expected; the runner starts the longest remaining path first
	Queue            string        // what AWS limits (4.1.1); "" is free
	Rate             int           // MiB a second that it takes of its lane (4.8.2); 0: that does not count
	ResumeID         string        // an earlier run's unfinished work: wait for it, make nothing
	NotRepeatable    bool          // what was found cannot be made again: what it is made of is shared no more
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
	case *VerifyImage, *RunInstance, *DeprecateImage, *EnableFastLaunch, *EnableDeregistrationProtection, *AssociateLicenses:
		return true
	case *ShareImage:
		return s.Destination != (Location{}) // of the destination's own image
	case *CreateGrant:
		return s.Lasting
	}
	return false
}

// Base gives the runner its part of a step.
func (h *Base) Meta() *Base { return h }

// Remaining is the longest expected time from the start of each step to the end of the run.
func Remaining(steps []Step) map[StepID]time.Duration {
	left := make(map[StepID]time.Duration, len(steps))
	for i := len(steps) - 1; i >= 0; i-- { // every step stands after what it waits for
		h := steps[i].Meta()
		left[h.ID] += h.ExpectedDuration
		for _, waited := range [][]StepID{h.DependsOn, h.RunsAfter} {
			for _, id := range waited {
				left[id] = max(left[id], left[h.ID])
			}
		}
	}
	return left
}
