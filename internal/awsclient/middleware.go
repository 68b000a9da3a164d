// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// attemptMiddleware handles every attempt of one call. It waits for the rate limit, renews an expired session, limits
// the duration of the attempt, and ends the call if AWS does not answer it.
type attemptMiddleware struct {
	at       distribution.Location
	limiter  *rate.Limiter // nil if the operation has no limit
	session  *session
	renewals int
	monitor  *outageMonitor
	last     error // of the last attempt without an answer
}

// maxRenewals limits how often one call renews its session. One renewal is enough (rule 5.4), unless sessions are
// revoked.
const maxRenewals = 3

func (*attemptMiddleware) ID() string { return "encrypted-ami:attempt" }

func (m *attemptMiddleware) HandleFinalize(
	ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	if m.limiter != nil {
		if err := m.limiter.Wait(ctx); err != nil {
			return out, metadata, &aws.RequestCanceledError{Err: err}
		}
	}

	out, metadata, err = m.send(ctx, in, next)
	if IsExpired(err) && m.renewals < maxRenewals {
		m.renewals++
		m.session.renew()
		err = renewedSessionError{err}
	}
	return out, metadata, err
}

// send makes one attempt and evaluates its response.
func (m *attemptMiddleware) send(
	ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	operation := operationName(awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx))
	begun := time.Now()
	end := m.monitor.deadline(m.at, operation, begun)

	if err = m.retrieve(ctx, end); err == nil {
		sent := time.Now()
		out, metadata, err = next.HandleFinalize(ctx, in)
		if took := time.Since(sent); took > longestAttempt {
			begun = begun.Add(took) // AWS was not silent while the machine was suspended
		}
	}
	if ctx.Err() != nil { // the caller has ended the call
		return out, metadata, err
	}

	if !isAnswer(err) {
		m.last = err
		releaseSlot(ctx)
	}
	if IsUnanswered(err) { // a call for credentials was given up
		return out, metadata, err
	}
	return out, metadata, m.monitor.record(m.at, operation, begun, err)
}

// retrieve loads the credentials of a call into their cache. The calls for credentials have their own deadline. It must
// end before the deadline of the attempt, or the error would name the wrong call.
func (m *attemptMiddleware) retrieve(ctx context.Context, end time.Time) error {
	begun := time.Now()
	retrieval, cancel := withTimeout(ctx, time.Until(end)+attemptTimeout)
	defer cancel()
	_, err := m.session.Retrieve(retrieval)
	if err != nil && retrieval.Err() != nil {
		return silentError(time.Since(begun))
	}
	if err != nil {
		return fmt.Errorf("get credentials: %w", err)
	}
	return nil
}

// explainInterruption adds the last error of AWS to the error of a call whose time limit ended between two attempts.
func (m *attemptMiddleware) explainInterruption(
	ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
	out, metadata, err = next.HandleFinalize(ctx, in)
	if err != nil && m.last != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = fmt.Errorf("%w, last: %w", context.DeadlineExceeded, m.last)
	}
	return out, metadata, err
}

// boundAttempt ends an attempt without a response, so that the call can be repeated. It does not limit the time for
// credentials, whose calls have their own attempts.
func boundAttempt(stack *middleware.Stack) error {
	if !hasAttempts(stack) {
		return nil
	}
	bound := middleware.FinalizeMiddlewareFunc("encrypted-ami:bound", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (out middleware.FinalizeOutput, metadata middleware.Metadata, err error) {
		attempt, cancel := withTimeout(ctx, attemptTimeout)
		defer cancel()
		out, metadata, err = next.HandleFinalize(attempt, in)
		if err != nil && attempt.Err() != nil && ctx.Err() == nil {
			err = silentError(attemptTimeout)
		}
		return out, metadata, err
	})
	return stack.Finalize.Insert(bound, "Signing", middleware.After)
}

// renewedSessionError makes both retryers retry the attempt, because AWS rejected it without any effect.
type renewedSessionError struct{ error }

func (e renewedSessionError) Unwrap() error      { return e.error }
func (renewedSessionError) RetryableError() bool { return true }

// withTimeout is context.WithTimeout with a timer that does not reference the context. A stopped timer can remain in
// memory until d has passed, and would keep the request of a call.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var expire atomic.Pointer[context.CancelCauseFunc]
	expire.Store(&cancel)
	timer := time.AfterFunc(d, func() {
		if cancel := expire.Load(); cancel != nil {
			(*cancel)(context.DeadlineExceeded)
		}
	})
	return ctx, func() {
		timer.Stop()
		expire.Store(nil)
		cancel(nil)
	}
}
