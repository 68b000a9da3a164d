// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// copySnapshot makes a copy and has it watched. It is called again to go on where an answer was lost, and after a copy that
// failed only because AWS had not yet seen what it depends on.
func (t *transfer) copySnapshot(ctx context.Context, j *job, s *plan.CopySnapshot, end func(Done)) {
	if broken := j.memo.broken; broken != nil {
		left := t.discard(ctx, s.At, aws.ToString(broken.SnapshotId))
		j.memo.broken = nil
		if j.memo.failure != nil {
			end(Done{Snapshot: broken, Left: left, Err: j.memo.failure})
			return
		}
	}
	id, err := s.Found, error(nil)
	if id == "" || slices.Contains(j.memo.thrown, id) {
		id, err = t.copyOf(ctx, j, s)
	}
	if err != nil {
		end(Done{Unclear: j.memo.lost, Err: err})
		return
	}
	t.watcher.watch(s.At, &pending{
		id: id, step: s.Step, begun: time.Now(), takes: s.Takes, gib: s.GiB,
		end: func(seen *ec2types.Snapshot, err error) { end(t.copied(j, id, seen, err)) },
	})
}

// copyOf makes the call, or finds what came of the one before.
func (t *transfer) copyOf(ctx context.Context, j *job, s *plan.CopySnapshot) (string, error) {
	if err := guardCopy(j, s); err != nil {
		return "", err
	}
	id, err := t.once(ctx, j, func(ctx context.Context) (string, error) { return t.findCopy(ctx, j, s) },
		func(ctx context.Context) (string, error) {
			made, err := t.pool.EC2(s.At).CopySnapshot(ctx, &ec2.CopySnapshotInput{
				SourceRegion:      aws.String(s.FromRegion),
				SourceSnapshotId:  aws.String(j.id(s.Source)),
				Description:       aws.String(s.Description),
				Encrypted:         aws.Bool(true), // never left to defaults: 1.3.9
				KmsKeyId:          aws.String(s.KeyARN),
				TagSpecifications: tagged(ec2types.ResourceTypeSnapshot, s.Tags),
			})
			if err != nil {
				return "", err
			}
			return aws.ToString(made.SnapshotId), nil
		})
	if awsclient.IsResourceLimit(err) {
		return "", laneFull{limitOf(err)}
	}
	return id, err
}

// findCopy looks for a copy of this step whose answer was lost: of this run, for this device and purpose, and not a failed one.
func (t *transfer) findCopy(ctx context.Context, j *job, s *plan.CopySnapshot) (string, error) {
	var found []ec2types.Snapshot
	err := snapshots(ctx, t.pool.EC2(s.At), origins(s.Tags), func(one ec2types.Snapshot) {
		if aws.ToString(one.Description) == s.Description && !slices.Contains(j.memo.thrown, aws.ToString(one.SnapshotId)) {
			found = append(found, one)
		}
	})
	if err != nil || len(found) == 0 {
		return "", err
	}
	return aws.ToString(slices.MinFunc(found, older).SnapshotId), nil
}

func older(a, b ec2types.Snapshot) int {
	if byTime := aws.ToTime(a.StartTime).Compare(aws.ToTime(b.StartTime)); byTime != 0 {
		return byTime
	}
	return strings.Compare(aws.ToString(a.SnapshotId), aws.ToString(b.SnapshotId))
}

// copied is how a copy ended: well, for good, or to be made again.
func (t *transfer) copied(j *job, id string, seen *ec2types.Snapshot, err error) Done {
	var failed *copyFailed
	if !errors.As(err, &failed) {
		return Done{Made: id, Snapshot: seen, Unclear: j.memo.lost, Err: err}
	}
	j.memo.broken = seen
	j.memo.thrown = append(j.memo.thrown, id)
	if again := len(j.memo.thrown); again <= len(repeats) && failed.early() && time.Since(t.dependsOn(j)) < patience+repeats[again-1] {
		return Done{Err: comeBack{repeats[again-1]}}
	}
	j.memo.failure = failed
	return Done{Err: comeBack{}}
}

// repeats are the pauses before a copy is made again: twice at most.
var repeats = []time.Duration{30 * time.Second, 2 * time.Minute}

// early reports a failure that may come of AWS not having seen yet what the copy depends on: its source's share or
// completion, a key's policy or grant (4.4.4, 4.6.5, 1.8.4).
func (e *copyFailed) early() bool {
	for _, text := range []string{"Source snapshot is not found", "Source snapshot is not complete", "Given key ID is not accessible"} {
		if strings.Contains(e.text, text) {
			return true
		}
	}
	return false
}

// dependsOn is when the last of what a step needs came about; where it needs nothing, when the run began.
func (t *transfer) dependsOn(j *job) time.Time {
	last := t.begun
	for _, id := range j.head.Needs {
		if ended := j.ended[id].Ended; ended.After(last) {
			last = ended
		}
	}
	return last
}
