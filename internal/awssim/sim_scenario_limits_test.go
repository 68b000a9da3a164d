// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// TestScenario_copyQuotas copies an image 301 times to a Region, and a snapshot 21 times.
func TestScenario_copyQuotas(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithoutLatency()(f.world)
		WithSnapshotDuration(func(SnapshotJob) time.Duration { return time.Hour })(f.world)
		remote := f.inLocation(owner, away)
		image := f.createImage("")
		root := f.rootSnapshot(f.ec2, image)
		copying := func(n int) (string, error) {
			return f.copyImage(f.ec2At(owner, away), image, func(in *ec2.CopyImageInput) {
				in.Name, in.ClientToken = aws.String(fmt.Sprintf("copy %d", n)), aws.String(fmt.Sprint("token ", n))
			})
		}

		begun, throttled := 0, 0
		for begun < 300 {
			_, err := copying(begun)
			var response *smithyhttp.ResponseError
			switch {
			case err == nil:
				begun++
			case errors.As(err, &response):
				requireErrorCode(f, err, "RequestLimitExceeded") // 4.2.1
				expectEqual(f, "the status of a throttled call (4.2.1)", response.HTTPStatusCode(), http.StatusServiceUnavailable)
				expectEqual(f, "copies before the first throttled call (4.2)", begun >= 100, true)
				throttled++
				time.Sleep(time.Second)
			default:
				t.Fatal(err)
			}
		}

		expectEqual(f, "throttled calls of 300 by a bucket of 100 that gets one a second (4.2)", throttled, 200)
		time.Sleep(time.Second)
		first := requireOutput(copying(0))(f)
		expectEqual(
			f, "images after a call again with its token (4.2.3)",
			len(requireOutput(remote.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
				Owners: []string{"self"},
			}))(f).Images),
			300,
		)

		expectEqual(f, "the image of a call again (4.2.3)", *f.describeImage(remote.ec2, first).Name, "copy 0")
		time.Sleep(time.Second)
		_, err := f.copyImage(f.ec2At(owner, away), image, withUniqueName, func(in *ec2.CopyImageInput) {
			in.ClientToken = aws.String("token 0")
		})

		requireErrorCode(f, err, "IdempotentParameterMismatch") // 4.2.3
		time.Sleep(time.Second)
		_, err = copying(300)
		requireErrorCode(f, err, "ResourceLimitExceeded") // 4.1.2

		var copies []string
		for range 20 {
			copies = append(copies, f.copySnapshot(remote.ec2, root))
		}

		_, err = remote.ec2.CopySnapshot(
			f.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &root}, withoutEC2Retries,
		)

		requireErrorCode(f, err, "ResourceLimitExceeded") // 4.1.1
		f.copySnapshot(f.ec2, root)                       // another Region has its own quota
		remote.snapshotKey(copies[0])                     // it is complete and frees the quota
		f.copySnapshot(remote.ec2, root)
		time.Sleep(time.Hour)
		requireNoError(copying(300))(f)
	})
}

// TestScenario_eventualConsistency polls right after each creating call. A new resource may be missing for some time,
// in lists and by ID (rule 4.4.1). An older one never is.
func TestScenario_eventualConsistency(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		before := f.createSnapshot("")
		older := f.createImage("")
		time.Sleep(time.Hour)
		f.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:Describe*"})
		snapshot := f.copySnapshot(f.ec2, before)
		registered := requireOutput(f.registerImage(f.ec2, before))(f)
		copied := requireOutput(f.copyImage(f.ec2, older, withUniqueName))(f)
		images := func(id string) error {
			_, err := f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
			return err
		}

		_, err := f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}})
		requireErrorCode(f, err, "InvalidSnapshot.NotFound")
		requireErrorCode(f, images(registered), "InvalidAMIID.NotFound")
		requireErrorCode(f, images(copied), "InvalidAMIID.NotFound")
		expectEqual(
			f, "the images of the owner at first",
			len(requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(f).Images),
			1,
		)

		expectEqual(f, "what was there before", f.describeSnapshot(f.ec2, before).State, types.SnapshotStateCompleted)
		for tries := 0; ; tries++ {
			if images(registered) == nil {
				break
			}
			if tries == 40 {
				t.Fatal("4.4.1: after ten minutes the image is still missing")
			}
			time.Sleep(15 * time.Second)
		}

		f.snapshotKey(snapshot)
		expectEqual(
			f, "the images of the owner in the end",
			len(requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(f).Images),
			3,
		)
	})
}

// TestScenario_copyProgress watches copies from start to end, successful and failed (rules 4.6), and time-based copies
// (rules 4.8).
func TestScenario_copyProgress(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient, remote := f.inLocation(member, home), f.inLocation(owner, away)
		disk := func(sizeGiB int32, key *string) string {
			created := requireOutput(f.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
				AvailabilityZone: aws.String(home + "a"),
				Size:             &sizeGiB,
				VolumeType:       types.VolumeTypeGp3,
				Encrypted:        aws.Bool(key != nil),
				KmsKeyId:         key,
			}))(f)
			time.Sleep(time.Minute)
			snapshot := requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: created.VolumeId}))(f)
			return *snapshot.SnapshotId
		}

		early := disk(8, nil)
		f.shareSnapshot(early) // rule 2.1.5: a pending snapshot can be shared
		for what, copied := range map[string]string{
			"Source snapshot is not complete": f.copySnapshot(recipient.ec2, early),
			"Source snapshot is not found":    f.copySnapshot(recipient.ec2, "snap-0fedcba9876543210"),
		} {
			got := recipient.waitForSnapshot(recipient.ec2, copied)
			expectEqual(f, "a copy: "+what+" (4.6.5)", got.State, types.SnapshotStateError)
			expectEqual(f, "its message (4.6.5)", aws.ToString(got.StateMessage), what)
			expectEqual(f, "its size (4.6.2)", aws.ToInt32(got.VolumeSize), 0)
		}

		key, target := f.createSharedKey(), f.createKeyIn(member, home)
		small := f.waitForSnapshot(f.ec2, disk(1, &key))
		f.shareSnapshot(*small.SnapshotId)
		began := time.Now()
		copied := f.copySnapshot(recipient.ec2, *small.SnapshotId, withKey(target), func(in *ec2.CopySnapshotInput) {
			in.Description = aws.String("mine")
		})

		pending := f.describeSnapshot(recipient.ec2, copied)
		expectEqual(f, "a copy at first (4.6.1)", pending.State, types.SnapshotStatePending)
		expectEqual(f, "its message (4.6.1)", aws.ToString(pending.StateMessage), "Metadata not updated")
		expectEqual(f, "its size (4.6.1)", aws.ToInt32(pending.VolumeSize), 0)
		expectEqual(f, "its encryption (4.6.1)", aws.ToBool(pending.Encrypted), false)
		expectEqual(f, "its key (4.6.1)", aws.ToString(pending.KmsKeyId), "")
		expectEqual(f, "its progress (4.6.1)", aws.ToString(pending.Progress), "0%")
		expectEqual(f, "its volume (4.6.1)", aws.ToString(pending.VolumeId), "vol-ffffffff")
		expectEqual(f, "its description (4.6.1)", aws.ToString(pending.Description), "mine")
		done := recipient.waitForSnapshot(recipient.ec2, copied)
		expectEqual(f, "the copy in the end (4.6.2)", done.State, types.SnapshotStateCompleted)
		expectEqual(f, "its progress (4.6.2)", aws.ToString(done.Progress), "100%")
		expectEqual(f, "its size (4.6.2)", aws.ToInt32(done.VolumeSize), 1)
		expectEqual(f, "its key (4.6.2)", aws.ToString(done.KmsKeyId), target)
		expectEqual(f, "its message (4.6.2)", aws.ToString(done.StateMessage), "")
		if took := done.CompletionTime.Sub(began); took < 4*time.Second || took > 25*time.Second {
			t.Errorf("4.6.4: a copy of 1 GiB took %s", took)
		}

		// A copy of 440 GiB in 15 minutes takes the maximum throughput of a copy, and four of them the quota of two Regions
		// (rule 4.8.2).
		in15 := func(source string, minutes int32) (string, error) {
			created, err := remote.ec2.CopySnapshot(
				f.Context(),
				&ec2.CopySnapshotInput{
					SourceRegion: aws.String(home), SourceSnapshotId: &source, CompletionDurationMinutes: &minutes,
				},
				withoutEC2Retries,
			)
			if err != nil {
				return "", err
			}
			return *created.SnapshotId, nil
		}

		var large []string
		for range 5 {
			large = append(large, disk(440, nil))
		}

		for _, source := range large {
			f.snapshotKey(source) // it is complete
		}

		_, err := in15(large[0], 20)
		requireErrorCode(f, err, "InvalidParameterValue") // 4.8.1
		began = time.Now()
		var hurried []string
		for _, source := range large[:4] {
			hurried = append(hurried, requireOutput(in15(source, 15))(f))
		}

		_, err = in15(large[4], 15)
		expectDenied(f, "a fifth copy in a hurry (4.8.2)", err)
		for _, id := range hurried {
			got := remote.waitForSnapshot(remote.ec2, id)
			expectEqual(f, "the transfer of a copy in a hurry (4.8.4)", got.TransferType, types.TransferTypeTimeBased)
			if took := got.CompletionTime.Sub(began); took > 16*time.Minute {
				t.Errorf("4.8.2: 440 GiB took %s of 15 minutes", took)
			}
		}

		requireNoError(in15(large[4], 15))(f)
	})
}
