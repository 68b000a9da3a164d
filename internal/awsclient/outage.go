// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// AnswerTimeout is how long calls are retried without an answer. Throttling and server errors are not answers. The
// timeout is longer than the usual transient errors of AWS, and short compared with the duration of copies.
const AnswerTimeout = 15 * time.Minute

const (
	// attemptTimeout limits one attempt. Without it, a silent connection would hold its call for AnswerTimeout.
	attemptTimeout = time.Minute
	// longestAttempt is the longest time of an attempt. A longer one means that the machine was suspended.
	longestAttempt = 2 * attemptTimeout
	// reportAfter is the time without an answer after which a call is reported. Shorter outages are common.
	reportAfter = time.Minute
	// retryGap is the longest time between two attempts of a call: the duration of a silent attempt, and the delay after
	// it.
	retryGap = attemptTimeout + 30*time.Second
	// outageGap is the time between two failed attempts after which they do not belong to the same outage. It is longer
	// than the five minutes in which a run looks for a resource before it repeats a call without a client token.
	outageGap = 6 * time.Minute
	// laterCalls is how long the other calls of a service or location are retried after the run has given up one of them.
	laterCalls = 2 * time.Minute
	// overGap replaces outageGap after an outage in which the run gave up a call. Until it has passed, the next call gets
	// one attempt.
	overGap = 30 * time.Minute
)

// Outage is a call that AWS does not answer, or answers with throttling or a server error.
type Outage struct {
	At        distribution.Location // account and Region of the call
	Operation string                // such as "ec2:DescribeImages"
	Err       error                 // of the last attempt
	Since     time.Time             // the beginning of the first attempt
	Until     time.Time             // when the call is given up
}

// Reason returns the error of the last attempt in one line: the code and the message of AWS if there is an answer.
func (o Outage) Reason() string {
	refusal := Refused(o.Operation, o.Err)
	return strings.TrimPrefix(refusal.Code+": "+refusal.Message, ": ")
}

// UnansweredError means that the run gave up a call, because AWS did not answer it for AnswerTimeout.
type UnansweredError struct{ Outage }

func (e *UnansweredError) Error() string {
	return fmt.Sprintf("no answer from %s for %v: %v", e.Operation, e.lasted(), e.Err)
}

func (e *UnansweredError) Unwrap() error { return e.Err }

// RetryableError returns false, so that the SDK does not retry the call.
func (e *UnansweredError) RetryableError() bool { return false }

func (e *UnansweredError) lasted() time.Duration { return e.Until.Sub(e.Since).Round(time.Second) }

// IsUnanswered reports whether the run gave up a call because AWS did not answer it.
func IsUnanswered(err error) bool {
	var unanswered *UnansweredError
	return errors.As(err, &unanswered)
}

// errSilent is the error of an attempt that got no response.
var errSilent = errors.New("no response")

// silentError returns the error of an attempt that the run ended because there was no response.
func silentError(waited time.Duration) error {
	return &smithyhttp.RequestSendError{Err: fmt.Errorf("%w within %v", errSilent, waited.Round(time.Second))}
}

// outageMonitor tracks the calls without an answer. It checks how long ago AWS last answered the same operation, any
// call of the service, any call of the location, and the operation in any account of the Region. Because of this, all
// calls of a Region in an outage together wait for AnswerTimeout once, not each.
type outageMonitor struct {
	report func(Outage) // nil if nothing listens

	mu      sync.Mutex
	outages map[outageScope]*outage
}

// outageScope is what an outage affects. An empty service or operation stands for all.
type outageScope struct {
	at                 distribution.Location
	service, operation string
	allAccounts        bool // of the Region; the account is empty
}

type outage struct {
	Outage
	lastAttempt time.Time
	isReported  bool
	isOver      bool // the run gave up a call
}

// newOutageScopes returns the four scopes of a call: the operation, the service, the location, and the operation in all
// accounts of the Region.
func newOutageScopes(at distribution.Location, operation string) [4]outageScope {
	service, _, _ := strings.Cut(operation, ":")
	return [4]outageScope{
		{at: at, service: service, operation: operation},
		{at: at, service: service},
		{at: at},
		{at: distribution.Location{Region: at.Region}, service: service, operation: operation, allAccounts: true},
	}
}

// isAnswer reports whether AWS has answered an attempt.
func isAnswer(err error) bool { return err == nil || !IsTransient(err) && !IsOutcomeUnknown(err) }

// deadline returns when an attempt that starts now must end. After an outage it leaves time for one response.
func (m *outageMonitor) deadline(at distribution.Location, operation string, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	own, end := now, now.Add(AnswerTimeout)
	for i, scope := range newOutageScopes(at, operation) {
		o := m.outages[scope]
		if o == nil || o.hasEnded(now) {
			continue
		}
		if i == 0 {
			own = o.Since
		}
		if until := o.until(i, own); until.Before(end) {
			end = until
		}
	}
	if soonest := now.Add(attemptTimeout); end.Before(soonest) {
		return soonest
	}
	return end
}

// until returns when the run gives up a call because of an outage of a scope. own is the time of the first attempt of
// the same operation without an answer.
func (o *outage) until(scope int, own time.Time) time.Time {
	if end := own.Add(laterCalls); scope > 0 && o.Until.Before(end) {
		return end
	}
	return o.Until
}

// record updates the outages after an attempt. It returns an error if the run must give up the call.
func (m *outageMonitor) record(at distribution.Location, operation string, begun time.Time, err error) error {
	var blocked *BlockedError
	if errors.As(err, &blocked) {
		return err
	}
	if isAnswer(err) {
		m.answered(at, operation)
		return err
	}

	given, report := m.unanswered(at, operation, begun, err)
	if report != nil && m.report != nil {
		m.report(*report)
	}
	if given != nil {
		return &UnansweredError{*given}
	}
	return err
}

func (m *outageMonitor) answered(at distribution.Location, operation string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, scope := range newOutageScopes(at, operation) {
		delete(m.outages, scope)
	}
}

// unanswered returns the outage because of which the run must give up a call, and the outage to report. Each is nil if
// there is none.
func (m *outageMonitor) unanswered(
	at distribution.Location, operation string, begun time.Time, err error,
) (given, report *Outage) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	own := begun
	for i, scope := range newOutageScopes(at, operation) {
		o := m.outages[scope]
		if o == nil || o.hasEnded(now) {
			o = &outage{Outage: Outage{Since: begun, Until: begun.Add(AnswerTimeout)}}
			m.outages[scope] = o
		}
		o.At, o.Operation, o.Err, o.lastAttempt = at, operation, err, now
		if i == 0 {
			own = o.Since
		}
		if now.Before(o.until(i, own)) {
			continue
		}
		o.isOver = true
		if given == nil {
			given = &Outage{At: at, Operation: operation, Err: err, Since: o.Since, Until: now}
		}
	}

	service := m.outages[newOutageScopes(at, operation)[1]]
	if given == nil && !service.isReported && now.Sub(service.Since) >= reportAfter {
		service.isReported = true
		copied := service.Outage
		report = &copied
	}
	return given, report
}

// hasEnded reports whether a new attempt does not belong to an outage.
func (o *outage) hasEnded(now time.Time) bool {
	gap := outageGap
	if o.isOver {
		gap = overGap
	}
	return now.Sub(o.lastAttempt) > gap
}

// current returns the sorted outages of calls that are still retried.
func (m *outageMonitor) current() []Outage {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var all []Outage
	for scope, o := range m.outages {
		isRetried := !o.isOver && now.Sub(o.lastAttempt) <= retryGap
		if scope.operation != "" && !scope.allAccounts && isRetried && now.Sub(o.Since) >= reportAfter {
			all = append(all, o.Outage)
		}
	}
	slices.SortFunc(all, func(a, b Outage) int {
		return cmp.Or(a.Until.Compare(b.Until), a.At.Compare(b.At), cmp.Compare(a.Operation, b.Operation))
	})
	return all
}

// Outages returns the calls that AWS has not answered for a minute and that are still retried, sorted by the time at
// which the run gives them up.
func (p *Pool) Outages() []Outage { return p.monitor.current() }

// TimeoutError returns why a call failed. If ctx is done, it returns the cause of that, with the call that had no
// answer.
func (p *Pool) TimeoutError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return err
	}
	for _, o := range p.monitor.current() {
		return fmt.Errorf("%w; no answer from %s in %s: %w", cause, o.Operation, o.At.Region, o.Err)
	}
	return cause
}
