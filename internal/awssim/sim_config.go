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
		Retryer:     newRetryer,
	}
}

func newRetryer() aws.Retryer {
	unlimited := retry.AddWithMaxAttempts(retry.NewStandard(func(o *retry.StandardOptions) {
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return min(time.Second<<min(attempt, 5), 20*time.Second), nil
		})
	}), 0)
	// The SDK signs the next attempt by AWS's clock (rule 5.12).
	return retry.AddWithErrorCodes(unlimited, "RequestExpired", "InvalidSignatureException")
}
