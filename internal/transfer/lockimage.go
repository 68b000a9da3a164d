// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// lockImage switches an image's protection on, as it is wanted, and reads it back.
func (t *transfer) lockImage(ctx context.Context, j *job, s *plan.LockImage) Done {
	id := j.id(s.Image)
	image, err := t.image(ctx, s.At, id)
	switch {
	case err != nil:
		return Done{Made: id, Err: err}
	case image != nil && plan.IsProtected(*image) && strings.Contains(aws.ToString(image.DeregistrationProtection), "with-cooldown") == s.Cooldown:
		return Done{Made: id}
	case j.memo.changed || image == nil: // not seen yet (4.4.1)
		if j.patient() {
			return Done{Err: comeBack{pause(j.memo.looks)}}
		}
		return Done{Made: id, Err: errNotProtected}
	}
	if _, err := t.pool.EC2(s.At).EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(id), WithCooldown: aws.Bool(s.Cooldown)}); err != nil {
		return Done{Made: id, Err: err}
	}
	j.memo.changed = true
	return Done{Err: comeBack{}}
}

func (t *transfer) proveLock(s *plan.LockImage) proof {
	in := &ec2.EnableImageDeregistrationProtectionInput{DryRun: aws.Bool(true), ImageId: aws.String(existing(s.Image, standInImage)), WithCooldown: aws.Bool(s.Cooldown)}
	return proofBy(t.pool.EC2(s.At).EnableImageDeregistrationProtection, in, s, "ec2:EnableImageDeregistrationProtection")
}
