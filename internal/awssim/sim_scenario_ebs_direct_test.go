// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestScenario_keyTriedWithoutVolume tries whether a key can be used, with a snapshot without blocks instead of a
// volume.
func TestScenario_keyTriedWithoutVolume(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		_, err := f.startSnapshot(f.ebs(), startsUnder(key), func(in *ebs.StartSnapshotInput) {
			in.Encrypted = aws.Bool(false)
		})

		expectDenied(f, "a key without encryption (4.9.3)", err)
		limited := ebs.NewFromConfig(f.createUser(owner, "limited", allowStatement(`"ebs:*"`)), singlyEBS)
		_, err = f.startSnapshot(limited, startsUnder(key))
		expectDenied(f, "a key that the caller must not use (4.9.4)", err)

		id := *requireOutput(f.startSnapshot(f.ebs(), startsUnder(key)))(f).SnapshotId
		expectDenied(
			f, "another account that completes it (4.9.5)",
			f.completed(ebs.NewFromConfig(f.world.Config(member, home), singlyEBS), id),
		)

		expectEqual(f, "the state (4.9.5)", f.describeSnapshot(f.ec2, id).State, types.SnapshotStatePending)
		requireNoError(0, f.completed(f.ebs(), id))(f)
		expectEqual(f, "the key (4.9.1)", f.snapshotKey(id), key)
	})
}
