// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

func (t *transfer) deregisterImage(ctx context.Context, j *job, s *plan.DeregisterImage) Done {
	id := j.id(s.Image)
	if !s.WithSnapshots {
		return Done{Made: id, Err: t.deregister(ctx, s.At, id)}
	}
	left, err := t.deregisterAll(ctx, s.At, id)
	if err != nil {
		left = append(left, plan.Leftover{At: s.At, Kind: "image", Resource: id, Why: err.Error()})
	}
	return Done{Made: id, Left: left, Err: err}
}

// deregisterAll takes an image away that is ours, with its snapshots, and says which of them stayed (9.11). Those that other images use are not left over.
func (t *transfer) deregisterAll(ctx context.Context, at plan.Place, id string) ([]plan.Leftover, error) {
	out, err := t.pool.EC2(at).DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id), DeleteAssociatedSnapshots: aws.Bool(true)})
	if awsclient.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var left []plan.Leftover
	for _, r := range out.DeleteSnapshotResults {
		if r.ReturnCode != ec2types.SnapshotReturnCodesSuccess && r.ReturnCode != ec2types.SnapshotReturnCodesWarnSkipped {
			left = append(left, plan.Leftover{At: at, Kind: "snapshot", Resource: aws.ToString(r.SnapshotId), Why: "its image is gone; AWS says " + string(r.ReturnCode)})
		}
	}
	return left, nil
}

// deregister takes an image away that is ours. That it is gone already is what was wanted (2.5.9).
func (t *transfer) deregister(ctx context.Context, at plan.Place, id string) error {
	_, err := t.pool.EC2(at).DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
	if awsclient.IsNotFound(err) {
		return nil
	}
	return err
}
