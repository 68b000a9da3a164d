// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// operation holds the functions that execute the steps of one kind. They are not methods of Step, because the linker
// would then keep all operations of every client that the signatures of the methods can reach.
type operation struct {
	start   func(Step, Env) Attempt
	dryRuns func(Step, Env) []DryRun
}

// operations has an entry for each kind of step. The file of the kind registers it.
var operations = map[reflect.Type]operation{}

// register adds the operation for all steps that have the type of s.
func register(s Step, added operation) struct{} {
	operations[reflect.TypeOf(s)] = added
	return struct{}{}
}

// Start returns the attempt of a step. It makes no call.
func Start(s Step, env Env) Attempt { return operations[reflect.TypeOf(s)].start(s, env) }

// Attempt executes a step.
type Attempt interface {
	// Do is called until it returns none of RetryAfter, QuotaExceeded and CopyInProgress. It blocks for calls, never for
	// a wait.
	Do(ctx context.Context) (Outcome, error)
}

// Resumable is an attempt that may have created something when the run is stopped between two calls of Do.
type Resumable interface {
	Attempt

	// Complete adds what the step has created to its outcome.
	Complete(o Outcome) Outcome

	// MustCleanUp reports whether Do must be called again, even if the destination or the run has failed.
	MustCleanUp() bool
}

// Env is what a step can access while it runs.
type Env struct {
	*Run
	Outcomes Outcomes // of the steps that this one waited for
}

// ID returns the AWS ID of a reference. Empty if its step created nothing.
func (e Env) ID(ref Ref) string {
	switch {
	case ref.Known != "":
		return ref.Known
	case ref.Device != "":
		return e.Outcomes.Of(ref.From).SnapshotIDs[ref.Device]
	}
	return e.Outcomes.Of(ref.From).ID
}

// Outcome is how a step ended.
type Outcome struct {
	Begun, Ended time.Time                       // set by the runner
	ID           string                          // of the created or changed resource. Empty if there is none
	Snapshot     *ec2types.Snapshot              // last status of a copied snapshot
	CreationDate string                          // of a source image whose protection is enabled. Empty if unread
	SnapshotIDs  map[string]string               // snapshots that the image uses, by device
	Adopted      bool                            // another run created the image
	Repeated     bool                            // the creating call was repeated because its response was lost
	Unsigned     bool                            // the image could not be signed, so it must not be published
	Retained     []distribution.RetainedResource // resources that could not be deleted
	Removed      []string                        // IDs of what other steps created and this one removed
	Notes        []distribution.Finding
	Err          error // set by the runner
}

// Outcomes are the outcomes of steps by ID. They are pointers because a run of 10,000 targets has many of them.
type Outcomes map[distribution.StepID]*Outcome

// Of returns the outcome of a step. It is empty if the step has none.
func (o Outcomes) Of(id distribution.StepID) Outcome {
	if outcome := o[id]; outcome != nil {
		return *outcome
	}
	return Outcome{}
}

// RetryAfter says that an attempt must be called again after a delay.
type RetryAfter struct{ Delay time.Duration }

func (RetryAfter) Error() string { return "to be continued" }

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

// DescribeImage returns an account's own image. Nil if AWS does not show it.
func DescribeImage(ctx context.Context, client *ec2.Client, id string) (*ec2types.Image, error) {
	out, err := client.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners:          []string{"self"},
		Filters:         []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{id}}},
		IncludeDisabled: aws.Bool(true), // rule 9.2
	})
	if err != nil || len(out.Images) == 0 {
		return nil, err
	}
	return &out.Images[0], nil
}

// ErrSkipped ends a step that never started. A dependency or its destination failed, or the run was stopped.
var ErrSkipped = errors.New("not begun")

// ExplainedError is an error that AWS did not cause and that has a finding of its own.
type ExplainedError interface {
	error
	Finding(s Step) *distribution.Finding
}

// Untested is the error of a step of the test copies that ended without a result. The run continues, because a missing
// result says nothing about the destinations. In the steps that depend on such a step, Untested wraps ErrSkipped.
type Untested struct {
	Err     error
	finding *distribution.Finding
}

func (e *Untested) Error() string { return e.Err.Error() }
func (e *Untested) Unwrap() error { return e.Err }

// Finding returns why there is no result.
func (e *Untested) Finding(Step) *distribution.Finding { return e.finding }

// IsUntested reports whether a step of the test copies has no result.
func IsUntested(err error) bool {
	var untested *Untested
	return errors.As(err, &untested)
}

// QuotaExceeded says that AWS refused a call because a quota is used up (rule 4.1.5, concurrent copies).
type QuotaExceeded struct {
	Limit int   // quota of the account. Zero if AWS does not report it
	Err   error // response of AWS
}

func (QuotaExceeded) Error() string { return "too many in progress" }

var limitInText = regexp.MustCompile(`limit is (\d+)`)

// newQuotaExceeded returns the refusal with the quota that its message names (rule 4.1.1, ResourceLimitExceeded).
func newQuotaExceeded(err error) QuotaExceeded {
	exceeded := QuotaExceeded{Err: err}
	if found := limitInText.FindStringSubmatch(err.Error()); found != nil {
		exceeded.Limit, _ = strconv.Atoi(found[1]) // the text has only digits, and on overflow the limit is useless
	}
	return exceeded
}

// Refusal returns the AWS error in an error. False if there is none.
func Refusal(err error) (distribution.APIError, bool) {
	var failed *CopyFailed
	if errors.As(err, &failed) {
		return distribution.APIError{Operation: failed.operation, Message: failed.text}, true
	}
	var ended *launchFailed
	if errors.As(err, &ended) {
		return distribution.APIError{Operation: "ec2:RunInstances", Code: ended.code, Message: ended.text}, true
	}
	operation := awsclient.Operation(err)
	return *awsclient.Refused(operation, err), operation != "" || awsclient.Code(err) != ""
}

// Reason returns an error as one line. For an AWS error it is the code and the message without the SDK's additions.
func Reason(err error) string {
	refusal, isAWS := Refusal(err)
	if !isAWS {
		return err.Error()
	}
	return strings.TrimPrefix(refusal.Code+": "+refusal.Message, ": ")
}
