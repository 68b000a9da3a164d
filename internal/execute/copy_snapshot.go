// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// copySnapshot starts a copy and has it watched. It is called again after a lost response, and after a copy that
// failed due to eventual consistency.
func (t *executor) copySnapshot(ctx context.Context, j *stepRun, s *step.CopySnapshot, end func(StepOutcome)) {
	if failed := j.state.failedCopy; failed != nil {
		_, id := failed.resource()
		j.state.retained = append(j.state.retained, t.discard(ctx, s.Location, id)...)
		j.state.failedCopy = nil
		if j.state.failure != nil {
			end(StepOutcome{Snapshot: failed.snapshot, Err: j.state.failure})
		} else {
			end(StepOutcome{Err: retryAfter{}}) // creates another copy if its destination still needs one
		}
		return
	}

	if s.Trial && j.id(s.Source) == "" { // the snapshot for the test copy could not be created
		end(StepOutcome{})
		return
	}

	err := t.startSnapshotCopy(ctx, j, s)
	if err == nil {
		err = t.sign(ctx, j, s.Signing)
	}

	if err != nil {
		end(StepOutcome{Err: err})
		return
	}

	id, destination := j.state.resourceID, s.Destination
	if s.Trial {
		destination = distribution.Location{} // a test copy belongs to no image
	}

	t.watcher.watch(copyGroup{Location: s.Location}, &watchedCopy{
		id: id, step: s.ID, destination: destination, expectedDuration: s.ExpectedDuration, gib: s.GiB,
		end: func(status *copyStatus, err error) {
			endOnPanic(end, func() {
				if note := canaryLostNote(err); s.Trial && note != nil {
					end(StepOutcome{ID: id, Notes: []distribution.Finding{*note}})
					return
				}
				end(t.handleCopyEnd(j, id, status, err))
			})
		},
	})
}

// startSnapshotCopy resumes the copy of an earlier run, or starts one.
func (t *executor) startSnapshotCopy(ctx context.Context, j *stepRun, s *step.CopySnapshot) (err error) {
	if err := t.resumeEarlier(ctx, j, s.Signing, t.snapshotReader(ctx, s.Location, s.ResumeID)); err != nil {
		return err
	}
	if j.state.resourceID == "" {
		j.state.resourceID, err = t.callCopySnapshot(ctx, j, s)
	}
	return err
}

// callCopySnapshot calls CopySnapshot, or finds the snapshot of an earlier call whose response was lost.
func (t *executor) callCopySnapshot(ctx context.Context, j *stepRun, s *step.CopySnapshot) (string, error) {
	if err := guardCopy(j, s.Source, s.KeyARN); err != nil {
		return "", err
	}

	token := s.Signing.Token(fmt.Sprintf("%s %d", s.ID, len(j.state.discardedIDs)+1))
	id, err := t.callOnce(ctx, j, func(ctx context.Context) (string, error) {
		return t.findSnapshot(ctx, j, s.Location, s.Signing, token)
	},
		func(ctx context.Context) (string, error) {
			in := &ec2.CopySnapshotInput{
				SourceRegion:      aws.String(s.FromRegion),
				SourceSnapshotId:  aws.String(j.id(s.Source)),
				Description:       aws.String(token.Description(s.Description)),
				Encrypted:         aws.Bool(true), // account defaults may differ (rule 1.3.9)
				KmsKeyId:          aws.String(s.KeyARN),
				TagSpecifications: tagSpecifications(ec2types.ResourceTypeSnapshot, s.Tags),
			}

			if s.Minutes > 0 {
				in.CompletionDurationMinutes = aws.Int32(int32(s.Minutes)) //nolint:gosec // at most 2880
			}

			output, err := t.pool.EC2(s.Location).CopySnapshot(ctx, in)
			if err != nil {
				return "", err
			}

			return aws.ToString(output.SnapshotId), nil
		})

	if awsclient.IsResourceLimit(err) {
		return "", quotaExceeded{limitOf(err), err}
	}

	return id, err
}

// findSnapshot looks for the snapshot of a call whose response was lost, by the token of the call. It returns the
// oldest one. The step that registers the image deletes the duplicates.
func (t *executor) findSnapshot(
	ctx context.Context, j *stepRun, at distribution.Location, signing step.Signing, token provenance.CallToken,
) (string, error) {
	found, err := t.snapshotsOfCall(ctx, at, signing, token)
	for _, s := range found {
		if id := aws.ToString(s.SnapshotId); !slices.Contains(j.state.discardedIDs, id) {
			t.recordCreatedID(id)
			return id, nil
		}
	}
	return "", err
}

// snapshotsOfCall returns the snapshots that carry the token of a call, oldest first.
func (t *executor) snapshotsOfCall(
	ctx context.Context, at distribution.Location, signing step.Signing, token provenance.CallToken,
) ([]ec2types.Snapshot, error) {
	source := signing.Statement.Source.String()
	filters := []ec2types.Filter{{Name: aws.String("tag:" + provenance.TagSource), Values: []string{source}}}
	var found []ec2types.Snapshot
	err := eachSnapshot(ctx, t.pool.EC2(at), filters, func(one ec2types.Snapshot) {
		if token.IsIn(aws.ToString(one.Description)) {
			found = append(found, one)
		}
	})
	slices.SortFunc(found, func(a, b ec2types.Snapshot) int {
		return cmp.Or(aws.ToTime(a.StartTime).Compare(aws.ToTime(b.StartTime)), cmp.Compare(*a.SnapshotId, *b.SnapshotId))
	})
	return found, err
}

// snapshotReader returns a function that reads the snapshot of an earlier run.
func (t *executor) snapshotReader(
	ctx context.Context, at distribution.Location, id string,
) func() (*provenance.Resource, error) {
	return func() (*provenance.Resource, error) {
		seen, err := describeSnapshots(ctx, t.pool.EC2(at), []string{id})
		snapshot, ok := seen[id]
		if err != nil || !ok {
			return nil, err
		}
		resource := distribution.SnapshotResource(at, snapshot)
		return &resource, nil
	}
}

// handleCopyEnd returns the outcome of a copy. A failed copy is deleted, and repeated if eventual consistency
// explains the failure.
func (t *executor) handleCopyEnd(j *stepRun, id string, status *copyStatus, err error) StepOutcome {
	var failed *copyFailed
	adopted := j.state.adopted // another run deletes it
	isUnrepeatable := j.base.NotRepeatable && id == j.base.ResumeID
	// another run deleted it meanwhile
	if notFound := (*notFoundError)(
		nil,
	); errors.As(err, &notFound) && !isUnrepeatable &&
		(adopted || id == j.base.ResumeID) {
		j.state.discardCopy(id)
		return StepOutcome{Err: retryAfter{}}
	}

	if !errors.As(err, &failed) {
		d := StepOutcome{ID: id, Err: err}
		if status != nil {
			d.Snapshot, d.SnapshotIDs = status.snapshot, status.snapshotIDs()
		}
		return d
	}

	refusal, _ := refusalOf(failed)
	j.state.discardCopy(id)
	if !adopted {
		j.state.failedCopy = status
	}

	if attempt := len(
		j.state.discardedIDs,
	); !isUnrepeatable && attempt <= len(copyRetryDelays) && diagnose.IsEventualConsistency(refusal) &&
		time.Since(t.dependenciesEnded(j)) < step.EventualConsistencyTimeout+copyRetryDelays[attempt-1] {
		t.reportRetry(
			j,
			failed.text,
			t.dependenciesEnded(j).Add(step.EventualConsistencyTimeout+copyRetryDelays[len(copyRetryDelays)-1]),
		)
		return StepOutcome{Err: retryAfter{copyRetryDelays[attempt-1]}}
	}

	if adopted {
		return StepOutcome{Err: failed}
	}

	j.state.failure = failed
	return StepOutcome{Err: retryAfter{}}
}

// copyRetryDelays are the delays before a failed copy is repeated.
var copyRetryDelays = []time.Duration{30 * time.Second, 2 * time.Minute}

// reportRetry reports once for each step why it is retried, and until when.
func (t *executor) reportRetry(j *stepRun, reason string, until time.Time) {
	if j.state.isRetryReported {
		return
	}

	j.state.isRetryReported = true
	t.watcher.emit(distribution.Event{
		Time:    time.Now(),
		Kind:    distribution.Retrying,
		Step:    j.base.ID,
		At:      j.base.Location,
		Percent: -1,
		ETA:     until,
		Text:    reason,
	})
}

// dependenciesEnded returns when the last dependency of a step ended. Without dependencies it returns the start of
// the run.
func (t *executor) dependenciesEnded(j *stepRun) time.Time {
	last := t.begun
	for _, id := range j.base.DependsOn {
		if ended := j.outcomes[id].Ended; ended.After(last) {
			last = ended
		}
	}
	return last
}
