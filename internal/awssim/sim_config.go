// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Config returns an SDK config for the root user of an account in a Region. Its clients call the world in process. They
// retry as long as the context lasts, without jitter, so that runs can be repeated.
func (w *World) Config(account, region string) aws.Config {
	return aws.Config{
		Region:      region,
		HTTPClient:  w,
		Credentials: credentials.NewStaticCredentialsProvider(account, "secret", ""),
		Retryer:     newSkewRetryer,
	}
}

// newRetryer returns a retryer without a maximum number of attempts.
func newRetryer() aws.Retryer {
	return retry.AddWithMaxAttempts(retry.NewStandard(func(o *retry.StandardOptions) {
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return min(time.Second<<min(attempt, 5), 20*time.Second), nil
		})
	}), 0)
}

// newSkewRetryer also retries refused signing times, because the SDK signs the next attempt by AWS's clock (rule 5.12).
// It must not be used with a session: an expired one returns the same error forever.
func newSkewRetryer() aws.Retryer {
	return retry.AddWithErrorCodes(newRetryer(), "RequestExpired", "InvalidSignatureException")
}
