// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// repeatable names the calls that may be made again without knowing what became of the first: those that say how things shall
// be. Whatever only reads is repeatable as well. All others make something new each time and have no token (rules 1.3.12, 4.2.3).
var repeatable = map[string]bool{
	"AddTagsToResource":                      true,
	"AssumeRole":                             true,
	"CopyImage":                              true, // by its token
	"CreateGrant":                            true, // with a name
	"CreateVolume":                           true, // with a ClientToken
	"DeleteVolume":                           true,
	"CreateTags":                             true,
	"CreateLaunchTemplateVersion":            true, // with a ClientToken
	"DeleteTags":                             true,
	"DeleteSnapshot":                         true,
	"DeregisterImage":                        true,
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

func mayRepeat(operation string) bool {
	for _, reads := range []string{"Describe", "Get", "List"} {
		if strings.HasPrefix(operation, reads) {
			return true
		}
	}
	return repeatable[operation]
}

// boundedAttempts is for STS and what else runs on a context that cannot be cancelled: the SDK fetches credentials on one.
const boundedAttempts = 10

// retryer repeats attempts that repeats() says may succeed, with growing, jittered delay and no quota of its own: the SDK's
// quota of 500 fails calls under long throttling.
type retryer struct {
	attempts int // 0: as many as the context allows
	repeats  retry.IsErrorRetryables
	jitter   *jitter
}

// again repeats after whatever passes: throttling, 5xx, resets, time-outs, torn answers.
func again(attempts int, jitter *jitter) retryer { return retryer{attempts, weather, jitter} }

// once repeats only what AWS refused before acting, or what was never sent.
func once(attempts int, jitter *jitter) retryer { return retryer{attempts, notActed, jitter} }

func (r retryer) MaxAttempts() int { return r.attempts }

func (r retryer) IsErrorRetryable(err error) bool { return r.repeats.IsErrorRetryable(err).Bool() }

func (r retryer) RetryDelay(attempt int, _ error) (time.Duration, error) {
	return r.jitter.delay(attempt), nil
}

func (r retryer) GetRetryToken(context.Context, error) (func(error) error, error) { return free, nil }

func (r retryer) GetInitialToken() func(error) error { return free }

func free(error) error { return nil }

var (
	weather = retry.IsErrorRetryables{
		retry.NoRetryCanceledError{},
		retry.IsErrorRetryableFunc(untrusted),
		retry.RetryableError{}, // clock skew; a session that was expired and is refreshed
		retry.RetryableErrorCode{Codes: throttles},
		retry.RetryableErrorCode{Codes: serverErrorCodes},
		retry.RetryableHTTPStatusCode{Codes: retry.DefaultRetryableHTTPStatusCodes},
		retry.RetryableConnectionError{},
		retry.IsErrorRetryableFunc(func(err error) aws.Ternary { return aws.BoolTernary(deserializationError(err) != nil) }),
	}
	notActed = retry.IsErrorRetryables{
		retry.NoRetryCanceledError{},
		retry.RetryableError{},
		retry.RetryableErrorCode{Codes: throttles},
	}
)

// onceWithoutToken gives calls that must not be repeated blindly the retryer for them.
func onceWithoutToken(jitter *jitter) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		if mayRepeat(stack.ID()) || !sends(stack) {
			return nil
		}
		// The attempts of the call keep what the client knows of the clock's skew.
		careful := retry.NewAttemptMiddleware(once(0, jitter), smithyhttp.RequestCloner, func(m *retry.Attempt) {
			if given, ok := stack.Finalize.Get(m.ID()); ok {
				if attempt, ok := given.(*retry.Attempt); ok {
					m.ClientSkew, m.OperationMeter, m.LogAttempts = attempt.ClientSkew, attempt.OperationMeter, attempt.LogAttempts
				}
			}
		})
		_, err := stack.Finalize.Swap(careful.ID(), careful)
		return err
	}
}

// sends reports whether a stack makes attempts. The one that signs CopySnapshot's URL beforehand does not.
func sends(stack *middleware.Stack) bool {
	_, retries := stack.Finalize.Get((*retry.Attempt)(nil).ID())
	return retries
}

// jitter spreads repeats. It is seeded, so that a run in virtual time can be repeated call by call.
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

// delay before the repeat of the given attempt (1 is the first): doubling from 200 ms to 20 s, of which the upper half is drawn.
func (j *jitter) delay(attempt int) time.Duration {
	whole := min(100*time.Millisecond<<min(attempt, 10), 20*time.Second)
	j.mu.Lock()
	defer j.mu.Unlock()
	return whole/2 + time.Duration(j.random.Int64N(int64(whole/2)))
}

// untrusted tells an endpoint whose certificate nobody vouches for from one that is out of reach: it stays so.
func untrusted(err error) aws.Ternary {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

var _ aws.Retryer = retryer{}
