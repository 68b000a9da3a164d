// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// An account tries whether its key can be used, with a snapshot without blocks instead of a volume.
func TestScenario_keyTriedWithoutVolume(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		_, err := b.started(b.ebs(), startsUnder(key), func(in *ebs.StartSnapshotInput) { in.Encrypted = aws.Bool(false) })
		denied(b, "a key without encryption (4.9.3)", err)
		limited := ebs.NewFromConfig(b.user(owner, "limited", may(`"ebs:*"`)), singlyEBS)
		_, err = b.started(limited, startsUnder(key))
		denied(b, "a key that the caller must not use (4.9.4)", err)

		id := *ok(b.started(b.ebs(), startsUnder(key)))(b).SnapshotId
		denied(b, "another account that completes it (4.9.5)", b.completed(ebs.NewFromConfig(b.world.Config(member, home), singlyEBS), id))
		is(b, "the state (4.9.5)", b.seen(b.ec2, id).State, types.SnapshotStatePending)
		must(0, b.completed(b.ebs(), id))(b)
		is(b, "the key (4.9.1)", b.keyOf(id), key)
	})
}
