// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
)

// attempt stands in front of every attempt of one call: it keeps AWS's rate, renews an expired session, and notes what gets no answer.
type attempt struct {
	bucket     *rate.Limiter
	session    *session
	renewed    int
	unanswered *unanswered
}

// renewals is how often one call has its session renewed. Once is enough (5.4), unless sessions are ended from outside.
const renewals = 3

func (*attempt) ID() string { return "encrypted-ami:attempt" }

func (a *attempt) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	out middleware.FinalizeOutput, metadata middleware.Metadata, err error,
) {
	if a.bucket != nil {
		if err := a.bucket.Wait(ctx); err != nil {
			return out, metadata, &aws.RequestCanceledError{Err: err}
		}
	}
	out, metadata, err = next.HandleFinalize(ctx, in)
	a.unanswered.note(ctx, err)
	if IsExpired(err) && a.renewed < renewals {
		a.renewed++
		a.session.renew()
		err = renewedError{err}
	}
	return out, metadata, err
}

// renewedError lets both retryers make the attempt again: AWS had refused before acting.
type renewedError struct{ error }

func (e renewedError) Unwrap() error      { return e.error }
func (renewedError) RetryableError() bool { return true }
