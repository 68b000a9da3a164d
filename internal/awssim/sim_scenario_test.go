// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// The tests named TestScenario_... show complete workflows with images, snapshots and keys, as AWS's guides describe
// them. They use several accounts and Regions and check what a user sees. The numbers are those of the rules. Together
// with the recorded observations they must detect every disabled rule (TestMutation_everyRuleIsDetected).

// expectEqual reports a difference between what a user sees and what a rule promises.
func expectEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// expectDenied reports a call that is not refused.
func expectDenied(t testing.TB, what string, err error) {
	t.Helper()
	var refusal smithy.APIError
	if !errors.As(err, &refusal) {
		t.Errorf("%s: not refused (%v)", what, err)
	}
}

// snapshotKey returns the key of a complete snapshot. Empty if it is unencrypted.
func (f fixture) snapshotKey(snapshot string) string {
	f.Helper()
	view := f.waitForSnapshot(f.ec2, snapshot)
	expectEqual(f, "the state of "+snapshot, view.State, types.SnapshotStateCompleted)
	expectEqual(f, "the encryption of "+snapshot, aws.ToBool(view.Encrypted), view.KmsKeyId != nil)
	return aws.ToString(view.KmsKeyId)
}

// imageKey returns the key of an image's root snapshot.
func (f fixture) imageKey(image string) string {
	f.Helper()
	expectEqual(f, "the state of "+image, f.waitForImage(f.ec2, image).State, types.ImageStateAvailable)
	return f.snapshotKey(f.rootSnapshot(f.ec2, image))
}

// withUniqueName sets a unique image name.
func withUniqueName(in *ec2.CopyImageInput) {
	in.Name = aws.String("copy at " + time.Now().Format("150405.000000"))
}

// copyImageAndWait copies an image from the home Region, waits, and returns the ID of the copy.
func (f fixture) copyImageAndWait(source string, changes ...func(*ec2.CopyImageInput)) string {
	f.Helper()
	id := requireOutput(f.copyImage(f.ec2, source, append([]func(*ec2.CopyImageInput){withUniqueName}, changes...)...))(f)
	expectEqual(f, "the state of the copy "+id, f.waitForImage(f.ec2, id).State, types.ImageStateAvailable)
	return id
}

// launchAndWait launches an image, waits a minute, and returns the instance.
func (f fixture) launchAndWait(image string, changes ...func(*ec2.RunInstancesInput)) types.Instance {
	f.Helper()
	id := f.launch(f.ec2, image, changes...)
	time.Sleep(time.Minute)
	return f.describeInstance(f.ec2, id)
}

// withDataDevice adds a data device with a snapshot to a registration.
func withDataDevice(snapshot string) func(*ec2.RegisterImageInput) {
	return func(in *ec2.RegisterImageInput) {
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
			DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot},
		})
	}
}
