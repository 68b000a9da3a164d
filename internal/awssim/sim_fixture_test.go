// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
)

// fixture is a world with clients of the owner.
type fixture struct {
	*testing.T
	world *World
	ec2   *ec2.Client
	kms   *kms.Client
}

// runWithFixture runs a test in virtual time, without the rule that the mutation test disabled.
func runWithFixture(t *testing.T, test func(f fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := New(WithoutRule(*without))
		test(fixture{T: t, world: w}.inLocation(owner, home))
	})
}

// inLocation returns the fixture for another account or Region of the same world.
func (f fixture) inLocation(account, region string) fixture {
	return f.withConfig(f.world.Config(account, region))
}

// withConfig returns the fixture for another caller.
func (f fixture) withConfig(config aws.Config) fixture {
	return fixture{f.T, f.world, ec2.NewFromConfig(config), kms.NewFromConfig(config)}
}

// requireOutput returns a call's output and stops the test if it failed: requireOutput(client.Call(...))(t).
func requireOutput[Out any](out Out, err error) func(testing.TB) Out {
	return func(t testing.TB) Out {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func requireErrorCode(t testing.TB, err error, code string) smithy.APIError {
	t.Helper()
	var refusal smithy.APIError
	if !errors.As(err, &refusal) || refusal.ErrorCode() != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
	return refusal
}

// createKey creates a customer managed key of the owner and returns its ARN.
func (f fixture) createKey() string {
	f.Helper()
	return *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{}))(f).KeyMetadata.Arn
}

// createVolume creates a volume of 8 GiB. An empty key means unencrypted.
func (f fixture) createVolume(key string) string {
	f.Helper()
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(f.ec2.Options().Region + "a"), Size: aws.Int32(8)}
	if key != "" {
		in.Encrypted, in.KmsKeyId = aws.Bool(true), &key
	}
	created := requireOutput(f.ec2.CreateVolume(f.Context(), in))(f)
	time.Sleep(time.Minute)
	return *created.VolumeId
}

// createImage creates an image with a root snapshot of 8 GiB. An empty key means unencrypted.
func (f fixture) createImage(key string, changes ...func(*ec2.RegisterImageInput)) string {
	f.Helper()
	snapshot := requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
		VolumeId: aws.String(f.createVolume(key)),
	}))(f)

	time.Sleep(time.Hour)
	in := &ec2.RegisterImageInput{
		Name:               aws.String("image of " + *snapshot.SnapshotId),
		RootDeviceName:     aws.String("/dev/sda1"),
		VirtualizationType: aws.String("hvm"),
		Architecture:       types.ArchitectureValuesX8664,
		EnaSupport:         aws.Bool(true),
		BlockDeviceMappings: []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
		},
	}

	for _, change := range changes {
		change(in)
	}

	return *requireOutput(f.ec2.RegisterImage(f.Context(), in))(f).ImageId
}

// launch launches one instance and returns its ID.
func (f fixture) launch(client *ec2.Client, image string, changes ...func(*ec2.RunInstancesInput)) string {
	f.Helper()
	in := oneInstance(image)
	for _, change := range changes {
		change(in)
	}
	created := requireOutput(client.RunInstances(f.Context(), in))(f).Instances[0]
	if created.State.Name != types.InstanceStateNamePending {
		f.Errorf("right after the launch the instance is %s", created.State.Name)
	}
	return *created.InstanceId
}

// describeInstance returns an instance as DescribeInstances shows it.
func (f fixture) describeInstance(client *ec2.Client, id string) types.Instance {
	f.Helper()
	return requireOutput(client.DescribeInstances(f.Context(), &ec2.DescribeInstancesInput{
		InstanceIds: []string{id},
	}))(f).Reservations[0].Instances[0]
}

func (f fixture) rootVolume(client *ec2.Client, id string) types.Volume {
	f.Helper()
	root := f.describeInstance(client, id).BlockDeviceMappings[0].Ebs.VolumeId
	return requireOutput(client.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
		VolumeIds: []string{*root},
	}))(f).Volumes[0]
}
