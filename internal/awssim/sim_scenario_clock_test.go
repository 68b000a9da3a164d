// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// TestScenario_laptopWakesUp suspends a client between signing and sending, and then its clock is wrong.
func TestScenario_laptopWakesUp(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		volume := f.createVolume("")
		config := f.world.Config(owner, home)
		config.HTTPClient = &signingTimeClient{world: f.world, shift: -16 * time.Minute}
		expectDenied(
			f, "a tag that was signed before (5.11)", f.setTag(ec2.NewFromConfig(config, withoutEC2Retries), volume, "late"),
		)

		expectEqual(f, "the tag (5.11)", f.tagValue(volume), "")

		WithClientSkew(-16 * time.Minute)(f.world)
		config = f.world.Config(owner, home)
		config.Retryer = newRetryer // as the SDK does, which does not retry RequestExpired
		skewed := f.withConfig(config)
		expectDenied(f, "a tag by a clock that is behind (5.11)", f.setTag(skewed.ec2, volume, "skewed"))
		requireNoError(0, f.setTag(skewed.ec2, volume, "corrected"))(f) // rule 5.12: the response contained the time
		expectEqual(f, "the tag then", skewed.tagValue(volume), "corrected")
	})
}
