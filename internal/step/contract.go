// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// DryRuns returns the dry runs of a step. Empty if AWS has none, or if execute makes them. Start and DryRuns are
// functions and not methods of an interface. Otherwise the linker would keep all operations of every client that
// the method's signature can reach.
func DryRuns(s Step, env Env) []DryRun {
	switch s := s.(type) {
	case *AssociateLicenseConfigurations:
		return s.dryRuns(env)
	case *CreateLaunchTemplateVersion:
		return s.dryRuns(env)
	case *DeprecateImage:
		return s.dryRuns(env)
	case *EnableDeregistrationProtection:
		return s.dryRuns(env)
	case *EnableFastLaunch:
		return s.dryRuns(env)
	case *PublishBarrier:
		return s.dryRuns(env)
	case *PutParameter:
		return s.dryRuns(env)
	case *WaitForKeyAccess:
		return s.dryRuns(env)
	}
	return nil
}

// Start returns the attempt of a step. It makes no call. Nil if execute runs the step itself.
func Start(s Step, env Env) Attempt {
	switch s := s.(type) {
	case *AssociateLicenseConfigurations:
		return s.start(env)
	case *CreateLaunchTemplateVersion:
		return s.start(env)
	case *DeprecateImage:
		return s.start(env)
	case *EnableDeregistrationProtection:
		return s.start(env)
	case *EnableFastLaunch:
		return s.start(env)
	case *PublishBarrier:
		return s.start(env)
	case *PutParameter:
		return s.start(env)
	case *WaitForKeyAccess:
		return s.start(env)
	}
	return nil
}

// Attempt executes a step.
type Attempt interface {
	// Do is called until it returns neither RetryAfter nor QuotaExceeded. It blocks for calls, never for a wait.
	Do(ctx context.Context) (Outcome, error)
}

// Env is what a step can access while it runs.
type Env struct {
	Clients *awsclient.Pool
	Outcome func(distribution.StepID) Outcome // of a step that this one depends on

	// ReleaseOf returns the release that an image of a location was delivered for. Zero if no run provably delivered it.
	ReleaseOf func(ctx context.Context, at distribution.Location, imageID string) (time.Time, error)
}

// ID returns the AWS ID of a reference. Empty if its step created nothing.
func (e Env) ID(ref Ref) string {
	switch {
	case ref.Known != "":
		return ref.Known
	case ref.Device != "":
		return e.Outcome(ref.From).SnapshotIDs[ref.Device]
	}
	return e.Outcome(ref.From).ID
}

// Outcome is what a step created.
type Outcome struct {
	ID          string            // AWS ID of the created or changed resource
	SnapshotIDs map[string]string // of an image, by device
	Unsigned    bool              // the image has no signature, so it must not be published
	Notes       []distribution.Finding
}

// DryRun is a call that AWS checks and does not execute (rule 6.1, dry runs of EC2).
type DryRun struct {
	Location distribution.Location
	Action   string // "ec2:CopySnapshot", followed by a space and a resource if each resource counts
	Resource string // AWS ID, ARN or name for the finding. Empty if it does not exist yet
	Call     func(context.Context) error
}

// RetryAfter says that an attempt must be called again after a delay.
type RetryAfter struct{ Delay time.Duration }

func (RetryAfter) Error() string { return "to be continued" }

// newDryRun returns the dry run of a call. The input must have DryRun set.
func newDryRun[In, Out, Options any](
	s Step, action string, call func(context.Context, In, ...func(*Options)) (Out, error), in In,
) DryRun {
	return DryRun{
		Location: s.Meta().Location,
		Action:   action,
		Resource: s.ResourceID(),
		Call: func(ctx context.Context) error {
			_, err := call(ctx, in)
			return err
		},
	}
}

// StandInImage is the ID in dry runs about an image that does not exist yet. A dry run does not look the ID up (rule
// 6.3), but EC2 refuses a malformed one (rule 2.5.10), such as the example of its documentation.
const StandInImage = "ami-0fedcba9876543210"

// imageOrStandIn returns the ID of an existing image, or StandInImage.
func imageOrStandIn(ref Ref) string {
	if isImageID(ref.Known) {
		return ref.Known
	}
	return StandInImage
}

func isImageID(id string) bool {
	return len(id) > len("ami-") && id[:len("ami-")] == "ami-" && id != distribution.Unbuilt
}

// EventualConsistencyTimeout limits the wait until AWS shows a change (rules 4.4.1 and 4.4.4).
const EventualConsistencyTimeout = 5 * time.Minute

// Backoff returns the delay before the nth poll. It starts at 2 s and doubles up to a minute.
func Backoff(n int) time.Duration { return min(2*time.Second<<min(n, 10), time.Minute) }

// consistencyWait limits the wait of one attempt until AWS shows a change.
type consistencyWait struct {
	since time.Time
	looks int
}

// retry returns RetryAfter, or fallback after the timeout.
func (w *consistencyWait) retry(fallback error) error {
	if w.since.IsZero() {
		w.since = time.Now()
	}
	w.looks++
	if time.Since(w.since) < EventualConsistencyTimeout {
		return RetryAfter{Backoff(w.looks)}
	}
	return fallback
}

// describeImage returns an account's own image. Nil if AWS does not show it.
func describeImage(ctx context.Context, client *ec2.Client, id string) (*ec2types.Image, error) {
	out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners:  []string{"self"},
		Filters: []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{id}}},
	})
	if err != nil || len(out.Images) == 0 {
		return nil, err
	}
	return &out.Images[0], nil
}
