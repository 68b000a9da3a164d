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

// The tests named TestScenario_... are whole lives of images, snapshots and keys, as AWS's guides tell them: several
// accounts and Regions, one step after the other, judged by what a user sees in the end. What is expected stands in the
// rules whose numbers are beside it. Together with the recorded observations they have to miss every rule that is
// switched off (TestMutation_everyRuleIsDetected).

// expectEqual compares what a user sees with what the rules promise.
func expectEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// denied checks that a call is refused, where the rules give no code.
func expectDenied(t testing.TB, what string, err error) {
	t.Helper()
	var refusal smithy.APIError
	if !errors.As(err, &refusal) {
		t.Errorf("%s: not refused (%v)", what, err)
	}
}

// keyOf is the key of a snapshot that has ended, empty where it is unencrypted.
func (f fixture) keyOf(snapshot string) string {
	f.Helper()
	seen := f.settled(f.ec2, snapshot)
	expectEqual(f, "the state of "+snapshot, seen.State, types.SnapshotStateCompleted)
	expectEqual(f, "the encryption of "+snapshot, aws.ToBool(seen.Encrypted), seen.KmsKeyId != nil)
	return aws.ToString(seen.KmsKeyId)
}

// keyOfImage is the key of an image's root.
func (f fixture) keyOfImage(image string) string {
	f.Helper()
	expectEqual(f, "the state of "+image, f.settledImage(f.ec2, image).State, types.ImageStateAvailable)
	return f.keyOf(f.root(f.ec2, image))
}

// newName gives a copy a name that no other has.
func newName(in *ec2.CopyImageInput) {
	in.Name = aws.String("copy at " + time.Now().Format("150405.000000"))
}

// imageCopied copies an image from home, waits, and is the copy's id.
func (f fixture) imageCopied(source string, changes ...func(*ec2.CopyImageInput)) string {
	f.Helper()
	id := requireOutput(f.copyImage(f.ec2, source, append([]func(*ec2.CopyImageInput){newName}, changes...)...))(f)
	expectEqual(f, "the state of the copy "+id, f.settledImage(f.ec2, id).State, types.ImageStateAvailable)
	return id
}

// launched launches an image, waits a minute, and is the instance as it is then.
func (f fixture) launched(image string, changes ...func(*ec2.RunInstancesInput)) types.Instance {
	f.Helper()
	id := f.launch(f.ec2, image, changes...)
	time.Sleep(time.Minute)
	return f.instance(f.ec2, id)
}

// alsoWith adds a data device from a snapshot to a registration.
func alsoWith(snapshot string) func(*ec2.RegisterImageInput) {
	return func(in *ec2.RegisterImageInput) {
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
			DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot},
		})
	}
}
