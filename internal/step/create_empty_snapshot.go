// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CreateEmptySnapshot creates a snapshot without blocks, for test copies (rule 4.9.1). It ends when EC2 shows it as
// completed. If it fails, the run continues without test copies. DeleteSnapshot reverts it.
type CreateEmptySnapshot struct {
	Base
	KeyARN      string
	GiB         int64
	Description string            // without the token of the call
	Tags        map[string]string // set by the creating call
	Signing     Signing
}

func (s *CreateEmptySnapshot) Permissions() []Permission {
	return []Permission{
		{"ebs:StartSnapshot", s.Location.SnapshotARN(""), "4.9.6"},
		{"ebs:CompleteSnapshot", s.Location.SnapshotARN("*"), "4.9.5"},
		{"ec2:CreateTags", s.Location.SnapshotARN("*"), "4.9.6"},
		{"ec2:DescribeSnapshots", "*", "4.2.2"},
		{"kms:GenerateDataKey", s.KeyARN, "4.9.4"},
	}
}

func (s *CreateEmptySnapshot) ResourceID() string { return s.KeyARN }

func (s *CreateEmptySnapshot) String() string {
	return fmt.Sprintf("create an empty snapshot of %d GiB in %s under %s", s.GiB, s.Location, s.KeyARN)
}

func (s *CreateEmptySnapshot) Role() Role { return PreparesTest }

func (s *CreateEmptySnapshot) Result(o Outcome) Result {
	why := "the source of the test copies; the next run deletes it"
	return Result{Created: newCreatedResource(&s.Base, "snapshot", o, why, distribution.Location{})}
}

var _ = register(&CreateEmptySnapshot{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*CreateEmptySnapshot).start(env) },
})

func (s *CreateEmptySnapshot) start(env Env) Attempt {
	return newAttempt(s, env, env.createEmptySnapshot)
}

// emptySnapshotTimeout is how many minutes AWS waits for CompleteSnapshot before it fails the snapshot (rule
// 4.9.2).
const emptySnapshotTimeout = 10

// createEmptySnapshot creates a snapshot without blocks and has it watched. If it fails, the run continues without
// test copies.
func (r *Run) createEmptySnapshot(ctx context.Context, a *attempt, s *CreateEmptySnapshot) (Outcome, error) {
	if err := r.startEmptySnapshot(ctx, a, s); err != nil {
		return r.endWithoutEmptySnapshot(ctx, a, err)
	}

	id := a.resourceID
	return Outcome{}, &CopyInProgress{
		Group: CopyGroup{Location: s.Location},
		ID:    id,
		GiB:   s.GiB,
		Ended: func(status *CopyStatus, err error) (Outcome, error) {
			outcome := Outcome{ID: id}
			if note := emptySnapshotDeletedNote(err); note != nil {
				return outcome, &Untested{Err: err, finding: note}
			}
			if status != nil {
				outcome.Snapshot = status.snapshot
			}
			return outcome, err
		},
	}
}

// startEmptySnapshot starts and completes the snapshot. Both calls can be repeated, due to the client token (rule
// 4.9.7).
func (r *Run) startEmptySnapshot(ctx context.Context, a *attempt, s *CreateEmptySnapshot) error {
	client := r.Clients.EBS(s.Location)
	graceCtx, release := withGracePeriod(ctx)
	defer release()
	if a.resourceID == "" {
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
		if (awsclient.IsTransient(err) || awsclient.IsOutcomeUnknown(err)) && a.keepPolling() {
			return RetryAfter{Backoff(a.polls)}
		}
		if err != nil {
			return err
		}

		a.resourceID = aws.ToString(started.SnapshotId)
		r.recordCreatedID(a.resourceID)
	}

	if !a.changed {
		_, err := client.CompleteSnapshot(graceCtx, &ebs.CompleteSnapshotInput{
			SnapshotId:         aws.String(a.resourceID),
			ChangedBlocksCount: aws.Int32(0),
		})
		isUnknown := awsclient.IsTransient(err) || awsclient.IsOutcomeUnknown(err)
		isDone := a.responseLost && awsclient.Code(err) == "ValidationException" // not pending any more (rule 4.9.5)
		switch {
		case isUnknown && a.keepPolling():
			a.responseLost = true
			return RetryAfter{Backoff(a.polls)}
		case err != nil && !isDone:
			return err
		}
		a.changed = true
	}

	return r.sign(ctx, a, s.Signing)
}

// ebsTags converts tags for the EBS direct APIs.
func ebsTags(tags map[string]string) []ebstypes.Tag {
	var list []ebstypes.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, ebstypes.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return list
}

// endWithoutEmptySnapshot ends the step of an empty snapshot that cannot be created. The run continues without test
// copies and reports why. An interrupted step fails as usual.
func (r *Run) endWithoutEmptySnapshot(ctx context.Context, a *attempt, err error) (Outcome, error) {
	if retry := (RetryAfter{}); errors.As(err, &retry) || awsclient.IsExpired(err) || context.Cause(ctx) != nil {
		return Outcome{}, err
	}
	id := a.resourceID
	a.resourceID = ""
	f := r.Explain(ctx, a.step, err)
	f.Level, f.Field = distribution.Warning, "test_copy"
	f.Summary = "the test copies could not be made: " + f.Summary
	var outcome Outcome
	if id != "" {
		outcome.Retained = r.discard(ctx, a.base.Location, id)
	}
	return outcome, &Untested{Err: err, finding: f}
}

// emptySnapshotDeletedNote returns a note if another run of the same destinations deleted the snapshot for test copies.
// Otherwise it returns nil. The test then says nothing about the destinations.
func emptySnapshotDeletedNote(err error) *distribution.Finding {
	var failed *CopyFailed
	if notFound := (*CopyNotFound)(
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
