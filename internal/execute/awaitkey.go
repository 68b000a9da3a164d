// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// awaitKey asks with the destination's own credentials, in the key's Region, until KMS answers (3.2.6).
func (t *transfer) awaitKey(ctx context.Context, j *stepRun, s *step.WaitForKeyAccess) StepOutcome {
	key, err := arn.Parse(s.KeyARN)
	if err != nil {
		return StepOutcome{Err: err}
	}
	_, err = t.pool.KMSIn(s.Location, key.Region).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(s.KeyARN)})
	if (awsclient.IsUnauthorized(err) || awsclient.IsNotFound(err)) && j.patient() {
		return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
	}
	return StepOutcome{Err: err}
}
