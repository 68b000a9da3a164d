// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// TestCreateVolume_unusableKey covers rule 1.8.6.
// A volume whose key cannot be used is accepted, and vanishes (1.8.6, A.4.7).
func TestCreateVolume_unusableKey(t *testing.T) {
	for what, key := range map[string]func(b fixture) string{
		"missing": func(fixture) string { return "alias/nope" },
		"disabled": func(b fixture) string {
			key := b.key()
			ok(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &key}))(b)
			return key
		},
	} {
		t.Run(what, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				made := ok(b.ec2.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1), Encrypted: aws.Bool(true), KmsKeyId: aws.String(key(b))}))(b)
				if made.State != types.VolumeStateCreating {
					t.Errorf("the answer says %s", made.State)
				}
				time.Sleep(time.Minute)
				_, err := b.ec2.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*made.VolumeId}})
				requireErrorCode(t, err, "InvalidVolume.NotFound")
			})
		})
	}
}

// TestCreateVolume_snapshotUnreadable covers rule A.4.7.
func TestCreateVolume_snapshotUnreadable(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		pending := *ok(b.ec2.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String(b.volume(""))}))(b).SnapshotId
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), SnapshotId: &pending}
		_, err := b.ec2.CreateVolume(b.Context(), in)
		requireError(t, err, "IncorrectState", "Snapshot is in invalid state - pending")
		_, err = b.at(member, home).CreateVolume(b.Context(), in)
		requireError(t, err, "InvalidSnapshot.NotFound", "Snapshot does not exist")
	})
}

func TestCreateSnapshot_perVolumeRate(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		in := &ec2.CreateSnapshotInput{VolumeId: aws.String(b.volume(""))}
		ok(b.ec2.CreateSnapshot(b.Context(), in))(b)
		_, err := b.at(owner, home).CreateSnapshot(b.Context(), in)
		requireErrorCode(t, err, "SnapshotCreationPerVolumeRateExceeded")
		time.Sleep(15 * time.Second)
		ok(b.ec2.CreateSnapshot(b.Context(), in))(b)
	})
}

// TestDeleteSnapshot_locked covers rule 9.3.
// A locked snapshot is not deleted by anybody; sharing and copying go on (9.3).
func TestDeleteSnapshot_locked(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		id := b.snapshot("")
		ok(b.ec2.LockSnapshot(b.Context(), &ec2.LockSnapshotInput{SnapshotId: &id, LockMode: types.LockModeCompliance, LockDuration: aws.Int32(1)}))(b)
		drop := func() error {
			_, err := b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &id})
			return err
		}
		requireErrorCode(t, drop(), "OperationNotPermitted")
		_, err := b.ec2.UnlockSnapshot(b.Context(), &ec2.UnlockSnapshotInput{SnapshotId: &id})
		requireErrorCode(t, err, "OperationNotPermitted")
		b.share(id)
		b.settled(b.at(member, home), b.copySnapshot(b.at(member, home), id))
		if got := ok(b.ec2.DescribeLockedSnapshots(b.Context(), &ec2.DescribeLockedSnapshotsInput{}))(b).Snapshots; len(got) != 1 || *got[0].SnapshotId != id {
			t.Errorf("locked: %v", got)
		}
		time.Sleep(24 * time.Hour)
		if err := drop(); err != nil {
			t.Errorf("after the lock: %v", err)
		}
	})
}
