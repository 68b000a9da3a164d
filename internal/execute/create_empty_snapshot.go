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

// emptySnapshotTimeout is how long AWS waits for CompleteSnapshot before it fails the snapshot, in minutes (rule 4.9.2).
const emptySnapshotTimeout = 10

// createEmptySnapshot creates a snapshot without blocks and has it watched. If it fails, the run goes on without test copies.
func (t *executor) createEmptySnapshot(ctx context.Context, j *stepRun, s *step.CreateEmptySnapshot, end func(StepOutcome)) {
	if err := t.startEmptySnapshot(ctx, j, s); err != nil {
		end(t.endWithoutCanary(ctx, j, err))
		return
	}
	id := j.state.resourceID
	t.watcher.watch(copyGroup{Location: s.Location}, &watchedCopy{
		id: id, step: s.ID, expectedDuration: s.ExpectedDuration, gib: s.GiB,
		end: func(seen *copyStatus, err error) {
			endOnPanic(end, func() {
				if tried := canaryLostNote(err); tried != nil {
					end(StepOutcome{ID: id, Notes: []distribution.Finding{*tried}})
					return
				}
				d := StepOutcome{ID: id, Err: err}
				if seen != nil {
					d.Snapshot = seen.snapshot
				}
				end(d)
			})
		},
	})
}

// beginEmptySnapshot starts and completes the snapshot. Its client token lets both calls be repeated (rule 4.9.7).
func (t *executor) startEmptySnapshot(ctx context.Context, j *stepRun, s *step.CreateEmptySnapshot) error {
	client := t.pool.EBS(s.Location)
	lasting, release := withGracePeriod(ctx)
	defer release()
	if j.state.resourceID == "" {
		token := s.Signing.Token(string(s.ID))
		started, err := client.StartSnapshot(lasting, &ebs.StartSnapshotInput{
			ClientToken: aws.String(string(token)),
			Description: aws.String(token.Description(s.Description)),
			KmsKeyArn:   aws.String(s.KeyARN),
			Tags:        ebsTags(s.Tags),
			Timeout:     aws.Int32(emptySnapshotTimeout),
			VolumeSize:  aws.Int64(s.GiB),
		})
		if err != nil {
			return err
		}
		j.state.resourceID = aws.ToString(started.SnapshotId)
		t.recordCreatedID(j.state.resourceID)
	}
	if !j.state.changed {
		_, err := client.CompleteSnapshot(lasting, &ebs.CompleteSnapshotInput{
			SnapshotId:         aws.String(j.state.resourceID),
			ChangedBlocksCount: aws.Int32(0),
		})
		switch wasTried := j.state.responseLost; {
		case awsclient.IsOutcomeUnknown(err) && !wasTried:
			j.state.responseLost = true
			return retryAfter{step.Backoff(0)}
		case err != nil && !wasTried: // a repeat fails if the first call was executed (rule 4.9.5)
			return err
		}
		j.state.changed = true
	}
	return t.sign(ctx, j, s.Signing)
}

// ebsTags returns tags as the EBS direct APIs take them.
func ebsTags(tags map[string]string) []ebstypes.Tag {
	var list []ebstypes.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, ebstypes.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

// without ends the step of an empty snapshot that cannot be created: the run goes on without test copies, and says why.
// What was cut off fails as any step.
func (t *executor) endWithoutCanary(ctx context.Context, j *stepRun, err error) StepOutcome {
	if later := (retryAfter{}); errors.As(err, &later) || awsclient.IsExpired(err) || context.Cause(ctx) != nil {
		return StepOutcome{Err: err}
	}
	made := j.state.resourceID
	j.state.resourceID = ""
	f := explain(ctx, t.pool, "", j.step, err)
	f.Level, f.Field = distribution.Warning, "canary"
	outcome := StepOutcome{Notes: []distribution.Finding{*f}}
	if made != "" {
		outcome.Retained = t.discard(ctx, j.base.Location, made)
	}
	return outcome
}

// lostTrial is what is said of a canary that another run of the same destinations took away: it tells nothing of them. Nil: it was not.
func canaryLostNote(err error) *distribution.Finding {
	var failed *copyFailed
	if missing := (*notFoundError)(nil); !errors.As(err, &missing) && (!errors.As(err, &failed) || !strings.Contains(failed.text, "Source snapshot is not")) {
		return nil
	}
	return &distribution.Finding{Level: distribution.Note, Reference: "4.6.5", Field: "canary", Summary: "the canary tells nothing", Detail: err.Error() + ": another run of the same destinations may have removed it"}
}

// verifySnapshot compares a copy, as last seen, with what was wanted.
func (t *executor) verifySnapshot(j *stepRun, s *step.VerifySnapshot) StepOutcome {
	copied := j.outcomes[s.Snapshot.From].Snapshot
	if copied == nil {
		return StepOutcome{}
	}
	if wrong := snapshotDifferences("canary", aws.ToString(copied.SnapshotId), s.Location.Account, s.ExpectedSnapshot, *copied); len(wrong) > 0 {
		return StepOutcome{Err: &verificationError{image: aws.ToString(copied.SnapshotId), differences: wrong}}
	}
	return StepOutcome{}
}
