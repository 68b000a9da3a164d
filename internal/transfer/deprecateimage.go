// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// deprecateImage sets an image's date, and reads it back.
func (t *transfer) deprecateImage(ctx context.Context, j *job, s *plan.DeprecateImage) Done {
	id := j.id(s.Image)
	if !j.memo.changed {
		if _, err := t.pool.EC2(s.At).EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: aws.String(id), DeprecateAt: aws.Time(s.After)}); err != nil {
			return Done{Made: id, Err: err}
		}
		j.memo.changed = true
	}
	image, err := t.image(ctx, s.At, id)
	if err != nil {
		return Done{Made: id, Err: err}
	}
	seen := ""
	if image != nil {
		seen = aws.ToString(image.DeprecationTime)
	}
	if at, err := time.Parse(time.RFC3339, seen); err == nil && at.Truncate(time.Minute).Equal(s.After) {
		return Done{Made: id}
	}
	if j.patient() { // 4.4.1
		return Done{Err: comeBack{pause(j.memo.looks)}}
	}
	return Done{Made: id, Err: fmt.Errorf("AWS shows %q as the date from which on %s is deprecated", seen, id)}
}

func (t *transfer) proveDeprecation(s *plan.DeprecateImage) proof {
	in := &ec2.EnableImageDeprecationInput{DryRun: aws.Bool(true), ImageId: aws.String(existing(s.Image, standInImage)), DeprecateAt: aws.Time(s.After)}
	return proofBy(t.pool.EC2(s.At).EnableImageDeprecation, in, s, "ec2:EnableImageDeprecation")
}
