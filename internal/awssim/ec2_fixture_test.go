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

// away is a Region other than home.
const away = "us-west-2"

// ec2At returns a client for the root user of an account, without retries.
func (f fixture) ec2At(account, region string) *ec2.Client {
	return ec2.NewFromConfig(f.world.Config(account, region), withoutEC2Retries)
}

// createSnapshot creates a complete snapshot of a new volume. An empty key means unencrypted.
func (f fixture) createSnapshot(key string) string {
	f.Helper()
	created := requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
		VolumeId: aws.String(f.createVolume(key)),
	}))(f)
	return *f.waitForSnapshot(f.ec2, *created.SnapshotId).SnapshotId
}

// waitForSnapshot waits until a snapshot is no longer pending and returns it.
func (f fixture) waitForSnapshot(client *ec2.Client, id string) types.Snapshot {
	f.Helper()
	for range 1000 {
		view := f.describeSnapshot(client, id)
		if view.State != types.SnapshotStatePending {
			return view
		}
		time.Sleep(15 * time.Second)
	}
	f.Fatalf("%s is still pending", id)
	return types.Snapshot{}
}

// describeSnapshot returns a snapshot as DescribeSnapshots shows it.
func (f fixture) describeSnapshot(client *ec2.Client, id string) types.Snapshot {
	f.Helper()
	return requireOutput(client.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
		SnapshotIds: []string{id},
	}))(f).Snapshots[0]
}

// describeImage returns an image as DescribeImages shows it.
func (f fixture) describeImage(client *ec2.Client, id string) types.Image {
	f.Helper()
	return requireOutput(client.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}}))(f).Images[0]
}

// waitForImage waits until an image is no longer pending.
func (f fixture) waitForImage(client *ec2.Client, id string) types.Image {
	f.Helper()
	for range 1000 {
		view := f.describeImage(client, id)
		if view.State != types.ImageStatePending {
			return view
		}
		time.Sleep(15 * time.Second)
	}
	f.Fatalf("%s is still pending", id)
	return types.Image{}
}

// createSharedKey creates a key of the owner whose policy allows the member account.
func (f fixture) createSharedKey() string {
	f.Helper()
	key := f.createKey()
	requireOutput(f.kms.PutKeyPolicy(f.Context(),
		&kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["` + owner + `","` + member + `"]},"Action":"kms:*","Resource":"*"}]}`)}))(f)
	return key
}

// createKeyIn creates a key of an account in a Region.
func (f fixture) createKeyIn(account, region string) string {
	f.Helper()
	return *requireOutput(kms.NewFromConfig(f.world.Config(account, region)).CreateKey(
		f.Context(), &kms.CreateKeyInput{},
	))(f).KeyMetadata.Arn
}

// awsManagedKeyARN returns the ARN of aws/ebs of an account in a Region.
func (f fixture) awsManagedKeyARN(account, region string) string {
	f.Helper()
	return *requireOutput(kms.NewFromConfig(f.world.Config(account, region)).DescribeKey(
		f.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/aws/ebs")},
	))(f).KeyMetadata.Arn
}

// shareSnapshot shares a snapshot of the owner with the member.
func (f fixture) shareSnapshot(snapshot string) {
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

func (f fixture) rootSnapshot(client *ec2.Client, image string) string {
	f.Helper()
	return *f.describeImage(client, image).BlockDeviceMappings[0].Ebs.SnapshotId
}

// copySnapshot copies a snapshot from the home Region and returns the ID of the copy.
func (f fixture) copySnapshot(client *ec2.Client, source string, changes ...func(*ec2.CopySnapshotInput)) string {
	f.Helper()
	in := &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &source}
	for _, change := range changes {
		change(in)
	}
	return *requireOutput(client.CopySnapshot(f.Context(), in))(f).SnapshotId
}

// withKey requests encryption with a key.
func withKey(key string) func(*ec2.CopySnapshotInput) {
	return func(in *ec2.CopySnapshotInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), &key }
}

// requireError requires an error code and message.
func requireError(t testing.TB, err error, code, text string) {
	t.Helper()
	if got := requireErrorCode(t, err, code).ErrorMessage(); got != text {
		t.Errorf("the refusal says %q, want %q", got, text)
	}
}

// runWithSnapshotJobs runs a test in virtual time, and passes to it the list of all snapshot jobs.
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
