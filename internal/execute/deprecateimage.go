// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deprecateImage sets an image's date, and reads it back.
func (t *transfer) deprecateImage(ctx context.Context, j *stepRun, s *step.DeprecateImage) StepOutcome {
	id := j.id(s.Image)
	if !j.memo.changed {
		if _, err := t.pool.EC2(s.Location).EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: aws.String(id), DeprecateAt: aws.Time(s.After)}); err != nil {
			return StepOutcome{Made: id, Err: err}
		}
		j.memo.changed = true
	}
	image, err := t.image(ctx, s.Location, id)
	if err != nil {
		return StepOutcome{Made: id, Err: err}
	}
	seen := ""
	if image != nil {
		seen = aws.ToString(image.DeprecationTime)
	}
	if at, err := time.Parse(time.RFC3339, seen); err == nil && at.Truncate(time.Minute).Equal(s.After) {
		return StepOutcome{Made: id}
	}
	if j.patient() { // 4.4.1
		return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
	}
	return StepOutcome{Made: id, Err: fmt.Errorf("AWS shows %q as the date from which on %s is deprecated", seen, id)}
}

func (t *transfer) proveDeprecation(s *step.DeprecateImage) proof {
	in := &ec2.EnableImageDeprecationInput{DryRun: aws.Bool(true), ImageId: aws.String(existing(s.Image, standInImage)), DeprecateAt: aws.Time(s.After)}
	return proofBy(t.pool.EC2(s.Location).EnableImageDeprecation, in, s, "ec2:EnableImageDeprecation")
}
