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

// A script copies an image 301 times to a Region and its snapshot 21 times, as fast as it is let.
func TestScenario_copyQuotas(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		WithoutLatency()(b.world)
		WithSnapshotDuration(func(SnapshotJob) time.Duration { return time.Hour })(b.world)
		there := b.inLocation(owner, away)
		image := b.image("")
		root := b.root(b.ec2, image)
		copying := func(n int) (string, error) {
			return b.copyImage(b.at(owner, away), image, func(in *ec2.CopyImageInput) {
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
				requireErrorCode(b, err, "RequestLimitExceeded") // 4.2.1
				is(b, "the status of a throttled call (4.2.1)", response.HTTPStatusCode(), http.StatusServiceUnavailable)
				is(b, "copies before the first throttled call (4.2)", begun >= 100, true)
				throttled++
				time.Sleep(time.Second)
			default:
				t.Fatal(err)
			}
		}
		is(b, "throttled calls of 300 by a bucket of 100 that gets one a second (4.2)", throttled, 200)
		time.Sleep(time.Second)
		first := ok(copying(0))(b)
		is(b, "images after a call again with its token (4.2.3)", len(ok(there.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(b).Images), 300)
		is(b, "the image of a call again (4.2.3)", *b.seenImage(there.ec2, first).Name, "copy 0")
		time.Sleep(time.Second)
		_, err := b.copyImage(b.at(owner, away), image, newName, func(in *ec2.CopyImageInput) { in.ClientToken = aws.String("token 0") })
		requireErrorCode(b, err, "IdempotentParameterMismatch") // 4.2.3
		time.Sleep(time.Second)
		_, err = copying(300)
		requireErrorCode(b, err, "ResourceLimitExceeded") // 4.1.2

		var copies []string
		for range 20 {
			copies = append(copies, b.copySnapshot(there.ec2, root))
		}
		_, err = there.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &root}, noRetries)
		requireErrorCode(b, err, "ResourceLimitExceeded") // 4.1.1
		b.copySnapshot(b.ec2, root)                       // another Region has its own limit
		there.keyOf(copies[0])                            // it is complete, and makes room
		b.copySnapshot(there.ec2, root)
		time.Sleep(time.Hour)
		must(copying(300))(b)
	})
}

// A poller looks right after each creating call: what is new may be missing for a while, in lists and by its id, and only for a while
// (4.4.1); what was there before never is.
func TestScenario_eventualConsistency(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		before := b.snapshot("")
		older := b.image("")
		time.Sleep(time.Hour)
		b.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:Describe*"})
		snapshot := b.copySnapshot(b.ec2, before)
		registered := ok(b.register(b.ec2, before))(b)
		copied := ok(b.copyImage(b.ec2, older, newName))(b)
		images := func(id string) error {
			_, err := b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
			return err
		}
		_, err := b.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}})
		requireErrorCode(b, err, "InvalidSnapshot.NotFound")
		requireErrorCode(b, images(registered), "InvalidAMIID.NotFound")
		requireErrorCode(b, images(copied), "InvalidAMIID.NotFound")
		is(b, "the images of the owner at first", len(ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(b).Images), 1)
		is(b, "what was there before", b.seen(b.ec2, before).State, types.SnapshotStateCompleted)
		for tries := 0; ; tries++ {
			if images(registered) == nil {
				break
			}
			if tries == 40 {
				t.Fatal("4.4.1: after ten minutes the image is still missing")
			}
			time.Sleep(15 * time.Second)
		}
		b.keyOf(snapshot)
		is(b, "the images of the owner in the end", len(ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(b).Images), 3)
	})
}

// A user watches copies from their first moment to their end, good and bad (4.6), and copies in a hurry (4.8).
func TestScenario_copyProgress(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient, there := b.inLocation(member, home), b.inLocation(owner, away)
		disk := func(gib int32, key *string) string {
			made := ok(b.ec2.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: &gib, VolumeType: types.VolumeTypeGp3, Encrypted: aws.Bool(key != nil), KmsKeyId: key}))(b)
			time.Sleep(time.Minute)
			snapshot := ok(b.ec2.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: made.VolumeId}))(b)
			return *snapshot.SnapshotId
		}
		early := disk(8, nil)
		b.share(early) // 2.1.5: it may be shared before it is complete
		for what, copied := range map[string]string{
			"Source snapshot is not complete": b.copySnapshot(recipient.ec2, early),
			"Source snapshot is not found":    b.copySnapshot(recipient.ec2, "snap-0123456789abcdef0"),
		} {
			got := recipient.settled(recipient.ec2, copied)
			is(b, "a copy: "+what+" (4.6.5)", got.State, types.SnapshotStateError)
			is(b, "its message (4.6.5)", aws.ToString(got.StateMessage), what)
			is(b, "its size (4.6.2)", aws.ToInt32(got.VolumeSize), 0)
		}

		key, target := b.openKey(), b.keyAt(member, home)
		small := b.settled(b.ec2, disk(1, &key))
		b.share(*small.SnapshotId)
		began := time.Now()
		copied := b.copySnapshot(recipient.ec2, *small.SnapshotId, under(target), func(in *ec2.CopySnapshotInput) { in.Description = aws.String("mine") })
		pending := b.seen(recipient.ec2, copied)
		is(b, "a copy at first (4.6.1)", pending.State, types.SnapshotStatePending)
		is(b, "its message (4.6.1)", aws.ToString(pending.StateMessage), "Metadata not updated")
		is(b, "its size (4.6.1)", aws.ToInt32(pending.VolumeSize), 0)
		is(b, "its encryption (4.6.1)", aws.ToBool(pending.Encrypted), false)
		is(b, "its key (4.6.1)", aws.ToString(pending.KmsKeyId), "")
		is(b, "its progress (4.6.1)", aws.ToString(pending.Progress), "0%")
		is(b, "its volume (4.6.1)", aws.ToString(pending.VolumeId), "vol-ffffffff")
		is(b, "its description (4.6.1)", aws.ToString(pending.Description), "mine")
		done := recipient.settled(recipient.ec2, copied)
		is(b, "the copy in the end (4.6.2)", done.State, types.SnapshotStateCompleted)
		is(b, "its progress (4.6.2)", aws.ToString(done.Progress), "100%")
		is(b, "its size (4.6.2)", aws.ToInt32(done.VolumeSize), 1)
		is(b, "its key (4.6.2)", aws.ToString(done.KmsKeyId), target)
		is(b, "its message (4.6.2)", aws.ToString(done.StateMessage), "")
		if took := done.CompletionTime.Sub(began); took < 4*time.Second || took > 25*time.Second {
			t.Errorf("4.6.4: a copy of 1 GiB took %s", took)
		}

		// In a hurry: 440 GiB in 15 minutes take all that one copy gets, four such copies all that two Regions have (4.8.2).
		in15 := func(source string, minutes int32) (string, error) {
			made, err := there.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &source, CompletionDurationMinutes: &minutes}, noRetries)
			if err != nil {
				return "", err
			}
			return *made.SnapshotId, nil
		}
		var large []string
		for range 5 {
			large = append(large, disk(440, nil))
		}
		for _, source := range large {
			b.keyOf(source) // it is complete
		}
		_, err := in15(large[0], 20)
		requireErrorCode(b, err, "InvalidParameterValue") // 4.8.1
		began = time.Now()
		var hurried []string
		for _, source := range large[:4] {
			hurried = append(hurried, ok(in15(source, 15))(b))
		}
		_, err = in15(large[4], 15)
		denied(b, "a fifth copy in a hurry (4.8.2)", err)
		for _, id := range hurried {
			got := there.settled(there.ec2, id)
			is(b, "the transfer of a copy in a hurry (4.8.4)", got.TransferType, types.TransferTypeTimeBased)
			if took := got.CompletionTime.Sub(began); took > 16*time.Minute {
				t.Errorf("4.8.2: 440 GiB took %s of 15 minutes", took)
			}
		}
		must(in15(large[4], 15))(b)
	})
}
