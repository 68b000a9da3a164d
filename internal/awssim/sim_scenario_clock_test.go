// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// A laptop goes to sleep between signing and sending, and its clock is wrong when it wakes up.
func TestScenario_laptopWakesUp(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		volume := b.volume("")
		config := b.world.Config(owner, home)
		config.HTTPClient = &signedAt{world: b.world, later: -16 * time.Minute}
		denied(b, "a tag that was signed before (5.11)", b.tag(ec2.NewFromConfig(config, noRetries), volume, "late"))
		is(b, "the tag (5.11)", b.valueOf(volume), "")

		WithClientSkew(-16 * time.Minute)(b.world)
		skewed := b.inLocation(owner, home)
		denied(b, "a tag by a clock that is behind (5.11)", b.tag(skewed.ec2, volume, "skewed"))
		must(0, b.tag(skewed.ec2, volume, "corrected"))(b) // 5.12: the answer said the time
		is(b, "the tag then", skewed.valueOf(volume), "corrected")
	})
}
