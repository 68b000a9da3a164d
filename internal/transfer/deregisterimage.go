// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

func (t *transfer) deregisterImage(ctx context.Context, j *job, s *plan.DeregisterImage) Done {
	id := j.id(s.Image)
	return Done{Made: id, Err: t.deregister(ctx, s.At, id)}
}

// deregister takes an image away that is ours. That it is gone already is what was wanted (2.5.9).
func (t *transfer) deregister(ctx context.Context, at plan.Place, id string) error {
	_, err := t.pool.EC2(at).DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
	if awsclient.IsNotFound(err) {
		return nil
	}
	return err
}
