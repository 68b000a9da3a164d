// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build switches

package chaos_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
)

// enough is a number of seeds that shows at least one violation of each invariant that is switched off.
const enough = 60

// The auditor reports a violation of each invariant that is switched off in the plugin.
func TestAuditor_invariantOff(t *testing.T) {
	for off := invariant.Ownership; off <= invariant.ReleaseOrder; off++ {
		t.Run(fmt.Sprint(int(off)), func(t *testing.T) {
			invariant.Off = off
			defer func() { invariant.Off = 0 }()
			var others []string
			for seed := uint64(1); seed <= enough; seed++ {
				var drawn counts
				for _, violation := range tryScenario(t, seed, &drawn) {
					if strings.Contains(violation, fmt.Sprintf("invariant %d:", off)) {
						t.Logf("seed %d: %s", seed, violation)
						return
					}
					others = append(others, fmt.Sprintf("seed %d: %s", seed, violation))
				}
			}
			t.Errorf("%d seeds, and no violation of invariant %d; others:\n%s", enough, off, strings.Join(others, "\n"))
		})
	}
}
