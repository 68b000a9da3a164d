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
	runWithFixture(t, func(f fixture) {
		volume := f.volume("")
		config := f.world.Config(owner, home)
		config.HTTPClient = &signedAt{world: f.world, later: -16 * time.Minute}
		expectDenied(f, "a tag that was signed before (5.11)", f.tag(ec2.NewFromConfig(config, noRetries), volume, "late"))
		expectEqual(f, "the tag (5.11)", f.valueOf(volume), "")

		WithClientSkew(-16 * time.Minute)(f.world)
		skewed := f.inLocation(owner, home)
		expectDenied(f, "a tag by a clock that is behind (5.11)", f.tag(skewed.ec2, volume, "skewed"))
		requireNoError(0, f.tag(skewed.ec2, volume, "corrected"))(f) // 5.12: the answer said the time
		expectEqual(f, "the tag then", skewed.valueOf(volume), "corrected")
	})
}
