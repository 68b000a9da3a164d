// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// createSnapshot makes a snapshot of a volume and has it watched.
func (t *transfer) createSnapshot(ctx context.Context, j *stepRun, s *step.CreateSnapshot, end func(StepOutcome)) {
	volume := j.id(s.Volume)
	if volume == "" { // it could not be made
		end(StepOutcome{})
		return
	}
	var err error
	if j.memo.made == "" {
		j.memo.made, err = t.once(ctx, j, func(ctx context.Context) (string, error) {
			return t.findSnapshot(ctx, j, s.Location, s.Tags, s.Description)
		},
			func(ctx context.Context) (string, error) {
				made, err := t.pool.EC2(s.Location).CreateSnapshot(ctx, &ec2.CreateSnapshotInput{
					VolumeId: aws.String(volume), Description: aws.String(s.Description), TagSpecifications: tagged(ec2types.ResourceTypeSnapshot, s.Tags)})
				if err != nil {
					return "", err
				}
				return aws.ToString(made.SnapshotId), nil
			})
	}
	if err == nil {
		err = t.seal(ctx, j, s.Location, s.SealKey, s.Tags)
	}
	if err != nil {
		end(t.without(ctx, j, err))
		return
	}
	id := j.memo.made
	t.watcher.watch(watchKey{Location: s.Location}, &watchedCopy{
		id: id, step: s.ID, takes: s.ExpectedDuration, gib: s.GiB,
		end: func(seen *copyStatus, err error) {
			guarded(end, func() {
				if tried := lostTrial(err); tried != nil {
					end(StepOutcome{Made: id, Notes: []distribution.Finding{*tried}})
					return
				}
				d := StepOutcome{Made: id, Err: err}
				if seen != nil {
					d.Snapshot = seen.snapshot
				}
				end(d)
			})
		},
	})
}

// lostTrial is what is said of a canary that another run of the same destinations took away: it tells nothing of them. Nil: it was not.
func lostTrial(err error) *distribution.Finding {
	var failed *copyFailed
	if missing := (*notFoundError)(nil); !errors.As(err, &missing) && (!errors.As(err, &failed) || !strings.Contains(failed.text, "Source snapshot is not")) {
		return nil
	}
	return &distribution.Finding{Level: distribution.Note, Reference: "4.6.5", Field: "test_copy", Summary: "the canary tells nothing", Detail: err.Error() + ": another run of the same destinations may have removed it"}
}

// verifySnapshot compares a copy, as last seen, with what was wanted.
func (t *transfer) verifySnapshot(j *stepRun, s *step.VerifySnapshot) StepOutcome {
	copied := j.ended[s.Snapshot.From].Snapshot
	if copied == nil {
		return StepOutcome{}
	}
	if wrong := wrongSnapshot("canary", aws.ToString(copied.SnapshotId), s.Location.Account, s.ExpectedSnapshot, *copied); len(wrong) > 0 {
		return StepOutcome{Err: &verificationError{image: aws.ToString(copied.SnapshotId), differences: wrong}}
	}
	return StepOutcome{}
}
