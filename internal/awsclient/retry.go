// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// idempotent holds the operations that can be retried without knowing the outcome of the first call. Read operations
// can be retried too. All others create a resource with each call and take no client token (rules 1.3.12 and 4.2.3).
var idempotent = map[string]bool{
	"AddTagsToResource":                      true,
	"AttachImageWatermark":                   true,
	"AssumeRole":                             true,
	"CopyImage":                              true, // with a ClientToken
	"CreateGrant":                            true, // with a name
	"CreateVolume":                           true, // with a ClientToken
	"DeleteVolume":                           true,
	"CreateTags":                             true,
	"CreateLaunchTemplateVersion":            true, // with a ClientToken
	"DeleteTags":                             true,
	"DeleteSnapshot":                         true,
	"DeregisterImage":                        true,
	"DisableImage":                           true,
	"DisableImageDeregistrationProtection":   true,
	"EnableFastLaunch":                       true,
	"EnableImageDeprecation":                 true,
	"EnableImageDeregistrationProtection":    true,
	"ModifyImageAttribute":                   true,
	"ModifyLaunchTemplate":                   true,
	"ModifySnapshotAttribute":                true,
	"RunInstances":                           true, // with a ClientToken
	"TerminateInstances":                     true,
	"UpdateLicenseSpecificationsForResource": true,
	"PutParameter":                           true,
	"RevokeGrant":                            true,
}

func isIdempotent(operation string) bool { return isRead(operation) || idempotent[operation] }

// credentialAttempts is the maximum number of attempts to get credentials. The SDK retrieves them with a context that
// cannot be canceled.
const credentialAttempts = 10

// retryer retries some errors with exponential backoff and jitter. It has no retry quota, because the SDK's quota of
// 500 would fail calls that are throttled for a long time.
type retryer struct {
	attempts  int // maximum number of attempts; 0 for as many as the context allows
	retryable retry.IsErrorRetryables
	jitter    *jitter
}

// newRetryer returns a retryer for idempotent operations. It retries every transient error.
func newRetryer(attempts int, jitter *jitter) retryer {
	return retryer{attempts, transientErrors, jitter}
}

// newRejectedOnlyRetryer returns a retryer for the other operations. It retries only requests that AWS rejected without
// any effect, or that were not sent.
func newRejectedOnlyRetryer(jitter *jitter) retryer {
	return retryer{retryable: rejectedErrors, jitter: jitter}
}

func (r retryer) MaxAttempts() int { return r.attempts }

func (r retryer) IsErrorRetryable(err error) bool { return r.retryable.IsErrorRetryable(err).Bool() }

func (r retryer) RetryDelay(attempt int, _ error) (time.Duration, error) {
	return r.jitter.backoff(attempt), nil
}

func (r retryer) GetRetryToken(context.Context, error) (func(error) error, error) {
	return releaseNothing, nil
}

func (r retryer) GetInitialToken() func(error) error { return releaseNothing }

func releaseNothing(error) error { return nil }

var (
	transientErrors = retry.IsErrorRetryables{
		retry.NoRetryCanceledError{},
		retry.IsErrorRetryableFunc(rejectCertificateError),
		retry.RetryableError{}, // clock skew, and an expired session that was renewed
		retry.RetryableErrorCode{Codes: throttlingCodes},
		retry.RetryableErrorCode{Codes: serverErrorCodes},
		retry.RetryableHTTPStatusCode{Codes: retry.DefaultRetryableHTTPStatusCodes},
		retry.RetryableConnectionError{},
		retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			return aws.BoolTernary(deserializationError(err) != nil)
		}),
	}
	rejectedErrors = retry.IsErrorRetryables{
		retry.NoRetryCanceledError{},
		retry.RetryableError{},
		retry.RetryableErrorCode{Codes: throttlingCodes},
	}
)

// useRejectedOnlyRetryer replaces the retryer of operations that are not idempotent.
func useRejectedOnlyRetryer(jitter *jitter) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		if isIdempotent(stack.ID()) || !hasAttempts(stack) {
			return nil
		}
		copyState := func(m *retry.Attempt) { // the clock skew that the client knows, its meter and its logging
			existing, _ := stack.Finalize.Get(m.ID())
			if attempt, ok := existing.(*retry.Attempt); ok {
				m.ClientSkew = attempt.ClientSkew
				m.OperationMeter = attempt.OperationMeter
				m.LogAttempts = attempt.LogAttempts
			}
		}
		replacement := retry.NewAttemptMiddleware(newRejectedOnlyRetryer(jitter), smithyhttp.RequestCloner, copyState)
		_, err := stack.Finalize.Swap(replacement.ID(), replacement)
		return err
	}
}

// hasAttempts reports whether a middleware stack sends requests. The stack that presigns the URL of CopySnapshot does
// not.
func hasAttempts(stack *middleware.Stack) bool {
	_, found := stack.Finalize.Get((*retry.Attempt)(nil).ID())
	return found
}

// jitter spreads retries. It has a seed, so that a run in virtual time can be replayed call by call.
type jitter struct {
	mu     sync.Mutex
	random *rand.Rand
}

func newJitter(seed uint64) *jitter {
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	return &jitter{random: rand.New(rand.NewPCG(seed, seed))} //nolint:gosec // no secret depends on it
}

// backoff returns the delay after an attempt; the first attempt is 1. It doubles from 200 ms to 20 s, and its upper
// half is random.
func (j *jitter) backoff(attempt int) time.Duration {
	longest := min(100*time.Millisecond<<min(attempt, 10), 20*time.Second)
	j.mu.Lock()
	defer j.mu.Unlock()
	return longest/2 + time.Duration(j.random.Int64N(int64(longest/2)))
}

// rejectCertificateError prevents a retry after an untrusted certificate, because the certificate will not change.
func rejectCertificateError(err error) aws.Ternary {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

var _ aws.Retryer = retryer{}
