// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// emptySnapshotTimeout is how many minutes AWS waits for CompleteSnapshot before it fails the snapshot (rule
// 4.9.2).
const emptySnapshotTimeout = 10

// createEmptySnapshot creates a snapshot without blocks and has it watched. If it fails, the run continues without
// test copies.
func (t *executor) createEmptySnapshot(
	ctx context.Context,
	j *stepRun,
	s *step.CreateEmptySnapshot,
	end func(StepOutcome),
) {
	if err := t.startEmptySnapshot(ctx, j, s); err != nil {
		end(t.endWithoutCanary(ctx, j, err))
		return
	}

	id := j.state.resourceID
	t.watcher.watch(copyGroup{Location: s.Location}, &watchedCopy{
		id: id, step: s.ID, expectedDuration: s.ExpectedDuration, gib: s.GiB,
		end: func(status *copyStatus, err error) {
			endOnPanic(end, func() {
				if note := canaryLostNote(err); note != nil {
					end(StepOutcome{ID: id, Notes: []distribution.Finding{*note}})
					return
				}
				d := StepOutcome{ID: id, Err: err}
				if status != nil {
					d.Snapshot = status.snapshot
				}
				end(d)
			})
		},
	})
}

// startEmptySnapshot starts and completes the snapshot. Both calls can be repeated, due to the client token (rule
// 4.9.7).
func (t *executor) startEmptySnapshot(ctx context.Context, j *stepRun, s *step.CreateEmptySnapshot) error {
	client := t.pool.EBS(s.Location)
	graceCtx, release := withGracePeriod(ctx)
	defer release()
	if j.state.resourceID == "" {
		token := s.Signing.Token(string(s.ID))
		started, err := client.StartSnapshot(graceCtx, &ebs.StartSnapshotInput{
			ClientToken: aws.String(string(token)),
			Description: aws.String(token.Description(s.Description)),
			KmsKeyArn:   aws.String(s.KeyARN),
			Tags:        ebsTags(s.Tags),
			Timeout:     aws.Int32(emptySnapshotTimeout),
			VolumeSize:  aws.Int64(s.GiB),
		})
		// The client token makes a repeated call safe.
		if (awsclient.IsTransient(err) || awsclient.IsOutcomeUnknown(err)) && j.keepPolling() {
			return retryAfter{step.Backoff(j.state.polls)}
		}
		if err != nil {
			return err
		}

		j.state.resourceID = aws.ToString(started.SnapshotId)
		t.recordCreatedID(j.state.resourceID)
	}

	if !j.state.changed {
		_, err := client.CompleteSnapshot(graceCtx, &ebs.CompleteSnapshotInput{
			SnapshotId:         aws.String(j.state.resourceID),
			ChangedBlocksCount: aws.Int32(0),
		})
		isUnknown := awsclient.IsTransient(err) || awsclient.IsOutcomeUnknown(err)
		isDone := j.state.responseLost && awsclient.Code(err) == "ValidationException" // not pending any more (rule 4.9.5)
		switch {
		case isUnknown && j.keepPolling():
			j.state.responseLost = true
			return retryAfter{step.Backoff(j.state.polls)}
		case err != nil && !isDone:
			return err
		}
		j.state.changed = true
	}

	return t.sign(ctx, j, s.Signing)
}

// ebsTags converts tags for the EBS direct APIs.
func ebsTags(tags map[string]string) []ebstypes.Tag {
	var list []ebstypes.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, ebstypes.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

// endWithoutCanary ends the step of an empty snapshot that cannot be created. The run continues without test copies
// and reports why. An interrupted step fails as usual.
func (t *executor) endWithoutCanary(ctx context.Context, j *stepRun, err error) StepOutcome {
	if retry := (retryAfter{}); errors.As(err, &retry) || awsclient.IsExpired(err) || context.Cause(ctx) != nil {
		return StepOutcome{Err: err}
	}
	id := j.state.resourceID
	j.state.resourceID = ""
	f := explain(ctx, t.pool, "", j.step, err)
	f.Level, f.Field = distribution.Warning, "test_copy"
	outcome := StepOutcome{Notes: []distribution.Finding{*f}}
	if id != "" {
		outcome.Retained = t.discard(ctx, j.base.Location, id)
	}
	return outcome
}

// canaryLostNote returns a note if another run of the same destinations deleted the snapshot for test copies.
// Otherwise it returns nil. The test then says nothing about the destinations.
func canaryLostNote(err error) *distribution.Finding {
	var failed *copyFailed
	if notFound := (*notFoundError)(
		nil,
	); !errors.As(err, &notFound) &&
		(!errors.As(err, &failed) || !strings.Contains(failed.text, "Source snapshot is not")) {
		return nil
	}

	return &distribution.Finding{
		Level:     distribution.Note,
		Code:      distribution.CodeTestCopyInconclusive,
		Reference: "4.6.5",
		Field:     "test_copy",
		Summary:   "the test copies have no result",
		Detail:    err.Error() + ": another run of the same destinations may have removed it",
	}
}

// verifySnapshot compares the last status of a test copy with what was requested.
func (t *executor) verifySnapshot(j *stepRun, s *step.VerifySnapshot) StepOutcome {
	snapshot := j.outcomes[s.Snapshot.From].Snapshot
	if snapshot == nil {
		return StepOutcome{}
	}

	if differences := snapshotDifferences(
		"test_copy",
		aws.ToString(snapshot.SnapshotId),
		s.Location.Account,
		s.ExpectedSnapshot,
		*snapshot,
	); len(
		differences,
	) > 0 {
		return StepOutcome{Err: &verificationError{image: aws.ToString(snapshot.SnapshotId), differences: differences}}
	}

	return StepOutcome{}
}
