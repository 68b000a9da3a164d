// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// snapshotLock prevents the deletion of a snapshot by any principal (rule 9.3).
type snapshotLock struct {
	mode         types.LockMode
	created      time.Time
	expires      time.Time
	durationDays int32
}

// isActive reports whether there is a lock that has not expired.
func (l *snapshotLock) isActive(now time.Time) bool { return l != nil && now.Before(l.expires) }

// snapshotLocked returns the error for deleting a locked snapshot. AWS does not publish the message (Q7).
func (w *World) snapshotLocked(id string) *APIError {
	if w.chooses(OtherRefusals) {
		return badRequest("OperationNotPermitted", "A lock prevents this for %s.", id)
	}
	return badRequest("OperationNotPermitted", "The snapshot %s is locked and cannot be deleted.", id)
}

func (l *snapshotLock) state() types.LockState {
	if l.mode == types.LockModeCompliance {
		return types.LockStateCompliance
	}
	return types.LockStateGovernance
}

func (w *World) lockSnapshot(c *Call, in *ec2.LockSnapshotInput) (*ec2.LockSnapshotOutput, error) {
	if err := refuseUnmodeled(in, "SnapshotId", "LockMode", "LockDuration"); err != nil {
		return nil, err
	}

	switch {
	case in.LockMode == "":
		return nil, missingParameter("LockMode")
	case in.LockDuration == nil || *in.LockDuration < 1 || *in.LockDuration > 36500:
		return nil, badRequest("InvalidParameterValue", "The lock duration must be between 1 and 36500 days.")
	}

	s, err := w.authorizeSnapshot(c, in.SnapshotId, nil)
	if err != nil {
		return nil, err
	}

	s.lock = &snapshotLock{
		mode:         in.LockMode,
		created:      c.At,
		expires:      c.At.AddDate(0, 0, int(*in.LockDuration)),
		durationDays: *in.LockDuration,
	}

	return &ec2.LockSnapshotOutput{
		SnapshotId:            &s.id,
		LockState:             s.lock.state(),
		LockDuration:          in.LockDuration,
		LockCreatedOn:         toMilliseconds(s.lock.created),
		LockDurationStartTime: toMilliseconds(s.lock.created),
		LockExpiresOn:         toMilliseconds(s.lock.expires),
	}, nil
}

func (w *World) unlockSnapshot(c *Call, in *ec2.UnlockSnapshotInput) (*ec2.UnlockSnapshotOutput, error) {
	s, err := w.authorizeSnapshot(c, in.SnapshotId, nil)
	if err != nil {
		return nil, err
	}
	if w.violates(c, "9.3", s.lock.isActive(c.At) && s.lock.mode == types.LockModeCompliance) {
		return nil, badRequest("OperationNotPermitted", "The snapshot %s is locked in compliance mode.", s.id)
	}
	s.lock = nil
	return &ec2.UnlockSnapshotOutput{SnapshotId: &s.id}, nil
}

func (w *World) describeLockedSnapshots(
	c *Call, in *ec2.DescribeLockedSnapshotsInput,
) (*ec2.DescribeLockedSnapshotsOutput, error) {
	if err := refuseUnmodeled(in, "SnapshotIds"); err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	out := &ec2.DescribeLockedSnapshotsOutput{}
	for id, s := range w.snapshots.all {
		if s.location != c.location() || !s.lock.isActive(c.At) ||
			len(in.SnapshotIds) > 0 && !slices.Contains(in.SnapshotIds, id) {
			continue
		}

		out.Snapshots = append(out.Snapshots, types.LockedSnapshotsInfo{
			SnapshotId:            &id,
			OwnerId:               &s.location.account,
			LockState:             s.lock.state(),
			LockDuration:          &s.lock.durationDays,
			LockCreatedOn:         toMilliseconds(s.lock.created),
			LockDurationStartTime: toMilliseconds(s.lock.created),
			LockExpiresOn:         toMilliseconds(s.lock.expires),
		})
	}

	return out, nil
}

// modifySnapshotTier archives a complete snapshot, which takes hours. Nothing can be created from an archived snapshot.
func (w *World) modifySnapshotTier(c *Call, in *ec2.ModifySnapshotTierInput) (*ec2.ModifySnapshotTierOutput, error) {
	s, err := w.authorizeSnapshot(c, in.SnapshotId, nil)
	if err != nil {
		return nil, err
	}
	if s.state(c.At) != types.SnapshotStateCompleted || s.archiving != nil || len(w.imagesUsing(s.id)) > 0 {
		return nil, badRequest(
			"IncorrectState", "The snapshot %s cannot be archived: it is not complete, already archived, or used by an image.",
			s.id,
		)
	}

	ends := c.At.Add(w.randomDuration(s.id+" archive", time.Hour, 24*time.Hour))
	s.archiving = &progress{starts: c.At, at99Percent: ends, ends: ends}
	return &ec2.ModifySnapshotTierOutput{SnapshotId: &s.id, TieringStartTime: aws.Time(c.At)}, nil
}
