// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// ErrSkipped ends a step that never started. A dependency or its destination failed, or the run was stopped.
var ErrSkipped = errors.New("not begun")

// ExplainedError is an error that AWS did not cause and that has a finding of its own.
type ExplainedError interface {
	error
	Finding(s Step) *distribution.Finding
}

// Untested ends a step of the test copies that has no result. The run continues, because it shows nothing about the
// destinations. It wraps ErrSkipped in the steps that depend on such a step.
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
