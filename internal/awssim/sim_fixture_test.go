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

// bench is a world with clients of the owner, and what its tests start from.
type fixture struct {
	*testing.T
	world *World
	ec2   *ec2.Client
	kms   *kms.Client
}

// onBench runs a test in virtual time, without the rule that the mutation check has switched off.
func runWithFixture(t *testing.T, test func(b fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := New(WithoutRule(*without))
		test(fixture{T: t, world: w}.inLocation(owner, home))
	})
}

// of is the bench of another account or Region of the same world.
func (b fixture) inLocation(account, region string) fixture {
	return b.withConfig(b.world.Config(account, region))
}

// by is the bench of another caller: a user, or a session.
func (b fixture) withConfig(config aws.Config) fixture {
	return fixture{b.T, b.world, ec2.NewFromConfig(config), kms.NewFromConfig(config)}
}

// ok is what a call gives, and stops the test if it fails: ok(client.Call(...))(t).
func ok[Out any](out Out, err error) func(testing.TB) Out {
	return func(t testing.TB) Out {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// refused checks the code of a refusal.
func requireErrorCode(t testing.TB, err error, code string) smithy.APIError {
	t.Helper()
	var refusal smithy.APIError
	if !errors.As(err, &refusal) || refusal.ErrorCode() != code {
		t.Fatalf("error %v, want code %s", err, code)
	}
	return refusal
}

// key makes a customer key of the owner, and is its ARN.
func (b fixture) key() string {
	b.Helper()
	return *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{}))(b).KeyMetadata.Arn
}

// volume makes a volume of 8 GiB under a key; without one, unencrypted.
func (b fixture) volume(key string) string {
	b.Helper()
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(b.ec2.Options().Region + "a"), Size: aws.Int32(8)}
	if key != "" {
		in.Encrypted, in.KmsKeyId = aws.Bool(true), &key
	}
	made := ok(b.ec2.CreateVolume(b.Context(), in))(b)
	time.Sleep(time.Minute)
	return *made.VolumeId
}

// image makes an image with a root snapshot of 8 GiB under a key; without one, unencrypted. Changes alter the registration.
func (b fixture) image(key string, changes ...func(*ec2.RegisterImageInput)) string {
	b.Helper()
	snapshot := ok(b.ec2.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String(b.volume(key))}))(b)
	time.Sleep(time.Hour)
	in := &ec2.RegisterImageInput{
		Name: aws.String("image of " + *snapshot.SnapshotId), RootDeviceName: aws.String("/dev/sda1"), VirtualizationType: aws.String("hvm"),
		Architecture: types.ArchitectureValuesX8664, EnaSupport: aws.Bool(true),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}}},
	}
	for _, change := range changes {
		change(in)
	}
	return *ok(b.ec2.RegisterImage(b.Context(), in))(b).ImageId
}

// launch launches one instance, and is its id. Changes alter the request.
func (b fixture) launch(client *ec2.Client, image string, changes ...func(*ec2.RunInstancesInput)) string {
	b.Helper()
	in := oneOf(image)
	for _, change := range changes {
		change(in)
	}
	made := ok(client.RunInstances(b.Context(), in))(b).Instances[0]
	if made.State.Name != types.InstanceStateNamePending {
		b.Errorf("right after the launch the instance is %s", made.State.Name)
	}
	return *made.InstanceId
}

// instance is an instance as it is described now.
func (b fixture) instance(client *ec2.Client, id string) types.Instance {
	b.Helper()
	return ok(client.DescribeInstances(b.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))(b).Reservations[0].Instances[0]
}

// rootVolume is the root volume of an instance.
func (b fixture) rootVolume(client *ec2.Client, id string) types.Volume {
	b.Helper()
	root := b.instance(client, id).BlockDeviceMappings[0].Ebs.VolumeId
	return ok(client.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*root}}))(b).Volumes[0]
}
