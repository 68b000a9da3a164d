// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// The volumes of a copy have the rate of the target, and a repeated run finds the copy unchanged.
func TestVolumeInitializationRate_ofTarget(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		template := w.Template(fixture.WithVolumeRate(200))
		w.RequireSuccess(w.Run(template))
		copied := w.RequireImage(fixture.Prod, fixture.Home)
		for _, device := range copied.BlockDeviceMappings {
			if got := aws.ToInt32(device.Ebs.VolumeInitializationRate); got != 200 {
				w.Errorf("%s has the rate %d, want 200", *device.DeviceName, got)
			}
		}

		w.RequireSuccess(w.Resume(template))
		if again := w.RequireImage(fixture.Prod, fixture.Home); *again.ImageId != *copied.ImageId {
			w.Errorf("the repeated run registered %s", *again.ImageId)
		}
	})
}
