// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// lockImage switches an image's protection on, as it is wanted, and reads it back.
func (t *transfer) lockImage(ctx context.Context, j *stepRun, s *step.EnableDeregistrationProtection) StepOutcome {
	id := j.id(s.Image)
	image, err := t.image(ctx, s.Location, id)
	switch {
	case err != nil:
		return StepOutcome{Made: id, Err: err}
	case image != nil && plan.IsProtected(*image) && strings.Contains(aws.ToString(image.DeregistrationProtection), "with-cooldown") == s.Cooldown:
		return StepOutcome{Made: id}
	case j.memo.changed || image == nil: // not seen yet (4.4.1)
		if j.patient() {
			return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
		}
		return StepOutcome{Made: id, Err: errNotProtected}
	}
	if _, err := t.pool.EC2(s.Location).EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(id), WithCooldown: aws.Bool(s.Cooldown)}); err != nil {
		return StepOutcome{Made: id, Err: err}
	}
	j.memo.changed = true
	return StepOutcome{Err: retryAfter{}}
}

func (t *transfer) proveLock(s *step.EnableDeregistrationProtection) proof {
	in := &ec2.EnableImageDeregistrationProtectionInput{DryRun: aws.Bool(true), ImageId: aws.String(existing(s.Image, standInImage)), WithCooldown: aws.Bool(s.Cooldown)}
	return proofBy(t.pool.EC2(s.Location).EnableImageDeregistrationProtection, in, s, "ec2:EnableImageDeregistrationProtection")
}
