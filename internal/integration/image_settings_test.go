// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// A repeated run changes nothing if the copies have the settings of the target. It writes not even its record.
func TestImageSettings_repeatedRun(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		template := w.Template(
			fixture.WithWatermarks("golden"),
			fixture.WithTargetKey(fixture.TargetKey),
			fixture.WithTargetWatermarks("approved"),
			fixture.WithLaunchPermission(fixture.Friend),
			fixture.WithTargetOption("deregistration_protection", map[string]any{}),
			fixture.WithTargetOption("deprecate_at", "2001-01-01T00:00:00Z"),
		)
		w.RequireSuccess(w.Run(template))
		repeated := w.Resume(template)
		w.RequireSuccess(repeated)
		for _, call := range repeated.Calls() {
			if call.Mutating() {
				w.Errorf("the repeated run called %s", call.Action)
			}
		}
	})
}
