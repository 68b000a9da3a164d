// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deleteSnapshot deletes a snapshot. It succeeds if the snapshot is gone or an image uses it.
func (t *executor) deleteSnapshot(ctx context.Context, j *stepRun, s *step.DeleteSnapshot) StepOutcome {
	id := j.id(s.Snapshot)
	if id == "" { // it could not be created
		return StepOutcome{}
	}

	err := t.deleteIfProven(ctx, s.Location, id)
	switch {
	case errors.Is(err, errNotShown) && j.keepPolling(): // created moments ago (rule 4.4.1, eventual consistency)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case err == nil, awsclient.IsInUse(err):
		return StepOutcome{ID: id}
	}

	return StepOutcome{
		ID:       id,
		Err:      err,
		Retained: []distribution.RetainedResource{{At: s.Location, Kind: "snapshot", Resource: id, Why: reason(err)}},
	}
}

// deleteIfProven deletes a snapshot if the evidence allows it. It succeeds if the snapshot is gone.
func (t *executor) deleteIfProven(ctx context.Context, at distribution.Location, id string) error {
	proof, err := t.snapshotProof(ctx, at, id)
	if errors.Is(err, errNotShown) && !t.isCreatedHere(id) {
		t.deleted.Store(id, true)
		return nil
	}

	if err != nil {
		return err
	}

	_, err = t.pool.EC2(at).DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(proof.ID())})
	if err = ignoreNotFound(err); err == nil {
		t.deleted.Store(id, true)
	}

	return err
}

// discard deletes a snapshot that nothing needs. It returns the snapshot if it could not be deleted.
func (t *executor) discard(ctx context.Context, at distribution.Location, id string) []distribution.RetainedResource {
	if err := t.deleteIfProven(ctx, at, id); err != nil && !awsclient.IsInUse(err) {
		return []distribution.RetainedResource{{At: at, Kind: "snapshot", Resource: id, Why: reason(err)}}
	}
	return nil
}

// ignoreNotFound returns nil if the error says that a resource is gone.
func ignoreNotFound(err error) error {
	if awsclient.IsNotFound(err) {
		return nil
	}
	return err
}
