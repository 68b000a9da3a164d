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

// TestCreateVolume_unusableKey covers rule 1.8.6. CreateVolume accepts a key that cannot be used, and the volume
// disappears (rule A.4.7).
func TestCreateVolume_unusableKey(t *testing.T) {
	for what, key := range map[string]func(f fixture) string{
		"missing": func(fixture) string { return "alias/nope" },
		"disabled": func(f fixture) string {
			key := f.createKey()
			requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
			return key
		},
	} {
		t.Run(what, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				created := requireOutput(f.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
					AvailabilityZone: aws.String(home + "a"),
					Size:             aws.Int32(1),
					Encrypted:        aws.Bool(true),
					KmsKeyId:         aws.String(key(f)),
				}))(f)
				if created.State != types.VolumeStateCreating {
					t.Errorf("the answer says %s", created.State)
				}

				time.Sleep(time.Minute)
				_, err := f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*created.VolumeId}})
				requireErrorCode(t, err, "InvalidVolume.NotFound")
			})
		})
	}
}

// TestCreateVolume_snapshotUnreadable covers rule A.4.7. CreateVolume refuses a snapshot that is pending or not
// readable.
func TestCreateVolume_snapshotUnreadable(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		pending := *requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
			VolumeId: aws.String(f.createVolume("")),
		}))(f).SnapshotId
		in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), SnapshotId: &pending}
		_, err := f.ec2.CreateVolume(f.Context(), in)
		requireError(t, err, "IncorrectState", "Snapshot is in invalid state - pending")
		_, err = f.ec2At(member, home).CreateVolume(f.Context(), in)
		requireError(t, err, "InvalidSnapshot.NotFound", "Snapshot does not exist")
	})
}

func TestCreateSnapshot_perVolumeRate(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		in := &ec2.CreateSnapshotInput{VolumeId: aws.String(f.createVolume(""))}
		requireOutput(f.ec2.CreateSnapshot(f.Context(), in))(f)
		_, err := f.ec2At(owner, home).CreateSnapshot(f.Context(), in)
		requireErrorCode(t, err, "SnapshotCreationPerVolumeRateExceeded")
		time.Sleep(15 * time.Second)
		requireOutput(f.ec2.CreateSnapshot(f.Context(), in))(f)
	})
}

// TestDeleteSnapshot_locked covers rule 9.3. A locked snapshot cannot be deleted, but still be shared and copied.
func TestDeleteSnapshot_locked(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.createSnapshot("")
		requireOutput(f.ec2.LockSnapshot(f.Context(), &ec2.LockSnapshotInput{
			SnapshotId: &id, LockMode: types.LockModeCompliance, LockDuration: aws.Int32(1),
		}))(f)

		drop := func() error {
			_, err := f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &id})
			return err
		}

		requireErrorCode(t, drop(), "OperationNotPermitted")
		_, err := f.ec2.UnlockSnapshot(f.Context(), &ec2.UnlockSnapshotInput{SnapshotId: &id})
		requireErrorCode(t, err, "OperationNotPermitted")
		f.shareSnapshot(id)
		f.waitForSnapshot(f.ec2At(member, home), f.copySnapshot(f.ec2At(member, home), id))
		got := requireOutput(f.ec2.DescribeLockedSnapshots(f.Context(), &ec2.DescribeLockedSnapshotsInput{}))(f).Snapshots
		if len(got) != 1 || *got[0].SnapshotId != id {
			t.Errorf("locked: %v", got)
		}

		time.Sleep(24 * time.Hour)
		if err := drop(); err != nil {
			t.Errorf("after the lock: %v", err)
		}
	})
}
