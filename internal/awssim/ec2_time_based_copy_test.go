// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestCopySnapshot_timeBased(t *testing.T) {
	asking := func(minutes int32) func(*ec2.CopySnapshotInput) {
		return func(in *ec2.CopySnapshotInput) { in.CompletionDurationMinutes = &minutes }
	}

	t.Run("4.8.1 bounds come before IAM and dry run", func(t *testing.T) {
		runWithFixture(t, func(f fixture) {
			for _, minutes := range []int32{-1, 0, 14, 16, 2881} {
				_, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
					SourceRegion:              aws.String(home),
					SourceSnapshotId:          aws.String("snap-0fedcba9876543210"),
					CompletionDurationMinutes: &minutes,
					DryRun:                    aws.Bool(true),
				})
				requireErrorCode(t, err, "InvalidParameterValue")
			}
		})
	})

	t.Run("4.8.4 shows its type and keeps its time", func(t *testing.T) {
		runWithFixture(t, func(f fixture) {
			source := f.createSnapshot("")
			begun := time.Now()
			got := f.waitForSnapshot(f.ec2, f.copySnapshot(f.ec2At(owner, home), source, asking(15)))
			if got.TransferType != types.TransferTypeTimeBased || aws.ToInt32(got.CompletionDurationMinutes) != 15 ||
				got.CompletionTime.Sub(begun) > 15*time.Minute {
				t.Errorf("the copy is %+v", got)
			}
		})
	})

	t.Run("4.8.3 the time of a second that an account makes of the same snapshot begins when the first has ended",
		func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				source := f.createSnapshots(400)[0]
				f.shareSnapshot(source)
				for _, row := range []struct {
					account, region string
					ends            time.Duration
				}{
					{owner, away, 15 * time.Minute},
					{owner, away, 30 * time.Minute},
					{owner, "eu-west-1", 45 * time.Minute},
					{member, home, 15 * time.Minute},
				} {
					got := f.copyDuration(f.copySnapshot(f.ec2At(row.account, row.region), source, asking(15)))
					if got.Round(time.Minute) != row.ends {
						t.Errorf("the copy of %s to %s takes %s, want %s", row.account, row.region, got, row.ends)
					}
				}
			})
		})

	t.Run("4.8.2 the throughput of a pair of Regions is limited", func(t *testing.T) {
		runWithFixture(t, func(f fixture) {
			// A copy of 440 GiB in 15 minutes takes the maximum of 500 MiB per second. Four of them take the whole quota.
			sources := f.createSnapshots(440, 440, 440, 440, 440)
			client := f.ec2At(owner, away)
			for _, id := range sources[:4] {
				f.copySnapshot(client, id, asking(15))
			}
			_, err := client.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
				SourceRegion: aws.String(home), SourceSnapshotId: &sources[4], CompletionDurationMinutes: aws.Int32(15),
			})
			requireErrorCode(t, err, "ResourceLimitExceeded")
			f.copySnapshot(f.ec2, sources[4], asking(15)) // another pair of Regions has its own quota
		})
	})

	t.Run("4.8.2 a copy that gets less than it asks for takes longer", func(t *testing.T) {
		runWithFixture(t, func(f fixture) {
			for i, id := range f.createSnapshots(400, 400, 400, 400, 400) { // each requests 455 MiB per second
				want := 15 * time.Minute
				if i == 4 {
					want = 38 * time.Minute // 180 MiB per second are left
				}
				if got := f.copyDuration(f.copySnapshot(f.ec2At(owner, away), id, asking(15))); got.Round(time.Minute) != want {
					t.Errorf("copy %d takes %s, want %s", i+1, got, want)
				}
			}
		})
	})

	t.Run("4.8.2 the snapshots of an image share what there is, and where there is none nothing is made",
		func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				image := f.createImage("", func(in *ec2.RegisterImageInput) {
					in.BlockDeviceMappings = nil
					for i, id := range f.createSnapshots(400, 400, 400, 400, 400, 400) {
						in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
							DeviceName: aws.String("/dev/sda" + string(rune('1'+i))), Ebs: &types.EbsBlockDevice{SnapshotId: &id},
						})
					}
				})

				client, begun := f.ec2At(owner, away), time.Now()
				within := func(in *ec2.CopyImageInput) { in.SnapshotCopyCompletionDurationMinutes = aws.Int64(15) }
				copied := requireOutput(f.copyImage(client, image, within))(f)
				_, err := f.copyImage(client, image, within, withUniqueName)
				requireErrorCode(t, err, "ResourceLimitExceeded")
				f.waitForImage(client, copied)
				if took := time.Since(begun); took < 20*time.Minute || took > 21*time.Minute {
					// 2730 MiB per second are requested, 2000 are available
					t.Errorf("the copy took %s", took)
				}

				created := requireOutput(client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
					OwnerIds: []string{"self"},
				}))(f).Snapshots
				if len(created) != 6 {
					t.Errorf("there are %d snapshots", len(created))
				}
			})
		})
}

// createSnapshots creates complete snapshots of new volumes.
func (f fixture) createSnapshots(sizeGiB ...int32) (all []string) {
	f.Helper()
	for _, size := range sizeGiB {
		volume := requireOutput(f.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), Size: &size, VolumeType: types.VolumeTypeGp3,
		}))(f)
		time.Sleep(time.Minute)
		all = append(
			all,
			*requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(f).SnapshotId,
		)
	}

	for _, id := range all {
		f.waitForSnapshot(f.ec2, id)
	}

	return all
}

// copyDuration returns the scheduled duration of a copy that just started.
func (f fixture) copyDuration(id string) time.Duration {
	f.Helper()
	created, ok := f.world.snapshots.get(id)
	if !ok {
		f.Fatalf("there is no %s", id)
	}
	return created.progress.ends.Sub(created.created)
}
