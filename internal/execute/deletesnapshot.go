// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

func (t *transfer) deleteSnapshot(ctx context.Context, j *stepRun, s *step.DeleteSnapshot) StepOutcome {
	id := j.id(s.Snapshot)
	if id == "" { // it could not be made
		return StepOutcome{}
	}
	err := t.drop(ctx, s.Location, id)
	if err == nil {
		return StepOutcome{Made: id}
	}
	return StepOutcome{Made: id, Err: err, Left: []distribution.RetainedResource{{At: s.Location, Kind: "snapshot", Resource: id, Why: reason(err)}}}
}

// drop deletes a snapshot. That it is gone already is what was wanted.
func (t *transfer) drop(ctx context.Context, at distribution.Location, id string) error {
	_, err := t.pool.EC2(at).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	if err == nil || awsclient.IsNotFound(err) {
		t.deleted.Store(id, true)
		return nil
	}
	return err
}

// discard deletes what is of no use, and says what stayed. It is no failure of its own.
func (t *transfer) discard(ctx context.Context, at distribution.Location, id string) []distribution.RetainedResource {
	if err := t.drop(ctx, at, id); err != nil && !awsclient.IsInUse(err) { // what an image uses is not left over
		return []distribution.RetainedResource{{At: at, Kind: "snapshot", Resource: id, Why: reason(err)}}
	}
	return nil
}
