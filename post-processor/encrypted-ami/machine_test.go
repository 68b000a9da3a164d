// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The documentation names the fields of the machine-readable lines, which programs read.
func TestPage_machineEvents(t *testing.T) {
	text, err := os.ReadFile("../../docs/post-processors/encrypted-ami.mdx")
	if err != nil {
		t.Fatal(err)
	}
	events := slices.Concat(
		slices.Collect(maps.Values(stepEvents)),
		slices.Collect(maps.Values(destinationEvents)),
		[]string{"run_started", "run_completed", "run_failed", "run_canceled", "finding", "file"},
	)
	for _, event := range events {
		if !strings.Contains(string(text), "`"+event+"`") {
			t.Errorf("the page does not name %s", event)
		}
	}
}
