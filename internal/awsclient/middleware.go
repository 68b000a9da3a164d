// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
)

// attemptMiddleware handles every attempt of one call. It waits for the rate limit, renews an expired session, and
// reports an unreachable endpoint.
type attemptMiddleware struct {
	limiter  *rate.Limiter // nil if the operation has no limit
	session  *session
	renewals int
	monitor  *endpointMonitor
}

// maxRenewals bounds how often one call renews its session. One renewal is enough (5.4), unless sessions are revoked.
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

	out, metadata, err = next.HandleFinalize(ctx, in)
	m.monitor.record(ctx, err)
	if IsExpired(err) && m.renewals < maxRenewals {
		m.renewals++
		m.session.renew()
		err = renewedSessionError{err}
	}
	return out, metadata, err
}

// renewedSessionError makes both retryers retry the attempt. AWS rejected it before acting.
type renewedSessionError struct{ error }

func (e renewedSessionError) Unwrap() error      { return e.error }
func (renewedSessionError) RetryableError() bool { return true }
