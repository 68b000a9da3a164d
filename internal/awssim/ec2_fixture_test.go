// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// away is another Region than home.
const away = "us-west-2"

// at are clients of an account's root in a Region. They do not try again.
func (b fixture) at(account, region string) *ec2.Client {
	return ec2.NewFromConfig(b.world.Config(account, region), noRetries)
}

// snapshot makes a complete snapshot of a new volume under a key; without one, unencrypted.
func (b fixture) snapshot(key string) string {
	b.Helper()
	made := ok(b.ec2.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String(b.volume(key))}))(b)
	return *b.settled(b.ec2, *made.SnapshotId).SnapshotId
}

// settled waits until a snapshot is complete or in error, and is what is seen of it then.
func (b fixture) settled(client *ec2.Client, id string) types.Snapshot {
	b.Helper()
	for range 1000 {
		seen := b.seen(client, id)
		if seen.State != types.SnapshotStatePending {
			return seen
		}
		time.Sleep(15 * time.Second)
	}
	b.Fatalf("%s is still pending", id)
	return types.Snapshot{}
}

// seen is a snapshot as it is described now.
func (b fixture) seen(client *ec2.Client, id string) types.Snapshot {
	b.Helper()
	return ok(client.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}}))(b).Snapshots[0]
}

// seenImage is an image as it is described now.
func (b fixture) seenImage(client *ec2.Client, id string) types.Image {
	b.Helper()
	return ok(client.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}}))(b).Images[0]
}

// settledImage waits until an image is no longer pending.
func (b fixture) settledImage(client *ec2.Client, id string) types.Image {
	b.Helper()
	for range 1000 {
		seen := b.seenImage(client, id)
		if seen.State != types.ImageStatePending {
			return seen
		}
		time.Sleep(15 * time.Second)
	}
	b.Fatalf("%s is still pending", id)
	return types.Image{}
}

// openKey makes a customer key of the owner at home that the member's account may use, as far as the policy goes.
func (b fixture) openKey() string {
	b.Helper()
	key := b.key()
	ok(b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["` + owner + `","` + member + `"]},"Action":"kms:*","Resource":"*"}]}`)}))(b)
	return key
}

// keyOf makes a customer key of an account in a Region.
func (b fixture) keyAt(account, region string) string {
	b.Helper()
	return *ok(kms.NewFromConfig(b.world.Config(account, region)).CreateKey(b.Context(), &kms.CreateKeyInput{}))(b).KeyMetadata.Arn
}

// managedKey is the ARN of aws/ebs of an account in a Region.
func (b fixture) managedKey(account, region string) string {
	b.Helper()
	return *ok(kms.NewFromConfig(b.world.Config(account, region)).DescribeKey(b.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")}))(b).KeyMetadata.Arn
}

// share shares a snapshot of the owner with the member.
func (b fixture) share(snapshot string) {
	b.Helper()
	ok(b.ec2.ModifySnapshotAttribute(b.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &snapshot, CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{{UserId: aws.String(member)}}},
	}))(b)
}

// shareImage shares an image of the owner with the member, without its snapshots.
func (b fixture) shareImage(image string) {
	b.Helper()
	ok(b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(member)}}},
	}))(b)
}

// root is the root snapshot of an image.
func (b fixture) root(client *ec2.Client, image string) string {
	b.Helper()
	return *b.seenImage(client, image).BlockDeviceMappings[0].Ebs.SnapshotId
}

// copySnapshot copies a snapshot from home, and is the id of the copy. Changes alter the request.
func (b fixture) copySnapshot(client *ec2.Client, source string, changes ...func(*ec2.CopySnapshotInput)) string {
	b.Helper()
	in := &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &source}
	for _, change := range changes {
		change(in)
	}
	return *ok(client.CopySnapshot(b.Context(), in))(b).SnapshotId
}

// under asks for a key.
func under(key string) func(*ec2.CopySnapshotInput) {
	return func(in *ec2.CopySnapshotInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), &key }
}

// refusedWith checks code and text of a refusal.
func requireError(t testing.TB, err error, code, text string) {
	t.Helper()
	if got := requireErrorCode(t, err, code).ErrorMessage(); got != text {
		t.Errorf("the refusal says %q, want %q", got, text)
	}
}

// onBenchWithJobs runs a test on a bench that notes every snapshot job.
func runWithSnapshotJobs(t *testing.T, test func(b fixture, jobs *[]SnapshotJob)) {
	t.Helper()
	runWithFixture(t, func(b fixture) {
		var jobs []SnapshotJob
		WithSnapshotDuration(func(job SnapshotJob) time.Duration {
			jobs = append(jobs, job)
			return time.Minute
		})(b.world)
		test(b, &jobs)
	})
}

func replaceSource(url, id string) string { return strings.ReplaceAll(url, "SOURCE", id) }
