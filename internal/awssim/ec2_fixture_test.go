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
func (f fixture) at(account, region string) *ec2.Client {
	return ec2.NewFromConfig(f.world.Config(account, region), noRetries)
}

// snapshot makes a complete snapshot of a new volume under a key; without one, unencrypted.
func (f fixture) snapshot(key string) string {
	f.Helper()
	created := requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
		VolumeId: aws.String(f.volume(key)),
	}))(f)
	return *f.settled(f.ec2, *created.SnapshotId).SnapshotId
}

// settled waits until a snapshot is complete or in error, and is what is seen of it then.
func (f fixture) settled(client *ec2.Client, id string) types.Snapshot {
	f.Helper()
	for range 1000 {
		seen := f.seen(client, id)
		if seen.State != types.SnapshotStatePending {
			return seen
		}
		time.Sleep(15 * time.Second)
	}
	f.Fatalf("%s is still pending", id)
	return types.Snapshot{}
}

// seen is a snapshot as it is described now.
func (f fixture) seen(client *ec2.Client, id string) types.Snapshot {
	f.Helper()
	return requireOutput(client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
		SnapshotIds: []string{id},
	}))(f).Snapshots[0]
}

// seenImage is an image as it is described now.
func (f fixture) seenImage(client *ec2.Client, id string) types.Image {
	f.Helper()
	return requireOutput(client.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}}))(f).Images[0]
}

// settledImage waits until an image is no longer pending.
func (f fixture) settledImage(client *ec2.Client, id string) types.Image {
	f.Helper()
	for range 1000 {
		seen := f.seenImage(client, id)
		if seen.State != types.ImageStatePending {
			return seen
		}
		time.Sleep(15 * time.Second)
	}
	f.Fatalf("%s is still pending", id)
	return types.Image{}
}

// openKey makes a customer key of the owner at home that the member's account may use, as far as the policy goes.
func (f fixture) openKey() string {
	f.Helper()
	key := f.key()
	requireOutput(f.kms.PutKeyPolicy(f.Context(),
		&kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["` + owner + `","` + member + `"]},"Action":"kms:*","Resource":"*"}]}`)}))(f)
	return key
}

// keyOf makes a customer key of an account in a Region.
func (f fixture) keyAt(account, region string) string {
	f.Helper()
	return *requireOutput(kms.NewFromConfig(f.world.Config(account, region)).CreateKey(
		f.Context(), &kms.CreateKeyInput{},
	))(f).KeyMetadata.Arn
}

// managedKey is the ARN of aws/ebs of an account in a Region.
func (f fixture) managedKey(account, region string) string {
	f.Helper()
	return *requireOutput(kms.NewFromConfig(f.world.Config(account, region)).DescribeKey(
		f.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")},
	))(f).KeyMetadata.Arn
}

// share shares a snapshot of the owner with the member.
func (f fixture) share(snapshot string) {
	f.Helper()
	requireOutput(f.ec2.ModifySnapshotAttribute(f.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &snapshot, CreateVolumePermission: &types.CreateVolumePermissionModifications{
			Add: []types.CreateVolumePermission{{UserId: aws.String(member)}},
		},
	}))(f)
}

// shareImage shares an image of the owner with the member, without its snapshots.
func (f fixture) shareImage(image string) {
	f.Helper()
	requireOutput(f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{
			Add: []types.LaunchPermission{{UserId: aws.String(member)}},
		},
	}))(f)
}

// root is the root snapshot of an image.
func (f fixture) root(client *ec2.Client, image string) string {
	f.Helper()
	return *f.seenImage(client, image).BlockDeviceMappings[0].Ebs.SnapshotId
}

// copySnapshot copies a snapshot from home, and is the id of the copy. Changes alter the request.
func (f fixture) copySnapshot(client *ec2.Client, source string, changes ...func(*ec2.CopySnapshotInput)) string {
	f.Helper()
	in := &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &source}
	for _, change := range changes {
		change(in)
	}
	return *requireOutput(client.CopySnapshot(f.Context(), in))(f).SnapshotId
}

// under asks for a key.
func under(key string) func(*ec2.CopySnapshotInput) {
	return func(in *ec2.CopySnapshotInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), &key }
}

// requireError checks code and text of a refusal.
func requireError(t testing.TB, err error, code, text string) {
	t.Helper()
	if got := requireErrorCode(t, err, code).ErrorMessage(); got != text {
		t.Errorf("the refusal says %q, want %q", got, text)
	}
}

// runWithSnapshotJobs runs a test on a bench that notes every snapshot job.
func runWithSnapshotJobs(t *testing.T, test func(f fixture, jobs *[]SnapshotJob)) {
	t.Helper()
	runWithFixture(t, func(f fixture) {
		var jobs []SnapshotJob
		WithSnapshotDuration(func(job SnapshotJob) time.Duration {
			jobs = append(jobs, job)
			return time.Minute
		})(f.world)
		test(f, &jobs)
	})
}

func replaceSource(url, id string) string { return strings.ReplaceAll(url, "SOURCE", id) }
