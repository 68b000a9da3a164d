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

// The tests named TestScenario_... are whole lives of images, snapshots and keys, as AWS's guides tell them: several accounts and Regions,
// one step after the other, judged by what a user sees in the end. What is expected stands in the rules whose numbers are beside it.
// Together with the recorded observations they have to miss every rule that is switched off (TestMutation_everyRuleIsDetected).

// is compares what a user sees with what the rules promise.
func is[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// denied checks that a call is refused, where the rules give no code.
func denied(t testing.TB, what string, err error) {
	t.Helper()
	var refusal smithy.APIError
	if !errors.As(err, &refusal) {
		t.Errorf("%s: not refused (%v)", what, err)
	}
}

// keyOf is the key of a snapshot that has ended, empty where it is unencrypted.
func (b fixture) keyOf(snapshot string) string {
	b.Helper()
	seen := b.settled(b.ec2, snapshot)
	is(b, "the state of "+snapshot, seen.State, types.SnapshotStateCompleted)
	is(b, "the encryption of "+snapshot, aws.ToBool(seen.Encrypted), seen.KmsKeyId != nil)
	return aws.ToString(seen.KmsKeyId)
}

// keyOfImage is the key of an image's root.
func (b fixture) keyOfImage(image string) string {
	b.Helper()
	is(b, "the state of "+image, b.settledImage(b.ec2, image).State, types.ImageStateAvailable)
	return b.keyOf(b.root(b.ec2, image))
}

// newName gives a copy a name that no other has.
func newName(in *ec2.CopyImageInput) {
	in.Name = aws.String("copy at " + time.Now().Format("150405.000000"))
}

// imageCopied copies an image from home, waits, and is the copy's id.
func (b fixture) imageCopied(source string, changes ...func(*ec2.CopyImageInput)) string {
	b.Helper()
	id := ok(b.copyImage(b.ec2, source, append([]func(*ec2.CopyImageInput){newName}, changes...)...))(b)
	is(b, "the state of the copy "+id, b.settledImage(b.ec2, id).State, types.ImageStateAvailable)
	return id
}

// launched launches an image, waits a minute, and is the instance as it is then.
func (b fixture) launched(image string, changes ...func(*ec2.RunInstancesInput)) types.Instance {
	b.Helper()
	id := b.launch(b.ec2, image, changes...)
	time.Sleep(time.Minute)
	return b.instance(b.ec2, id)
}

// alsoWith adds a data device from a snapshot to a registration.
func alsoWith(snapshot string) func(*ec2.RegisterImageInput) {
	return func(in *ec2.RegisterImageInput) {
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &snapshot}})
	}
}
