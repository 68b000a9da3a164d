// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The SDK does not export its metadata of partitions, so the test reads the file in its module.
func TestPartitionOf_sdkMetadata(t *testing.T) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	const file = "internal/endpoints/awsrulesfn/partitions.json"
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), file))
	if err != nil {
		t.Fatal(err)
	}
	var metadata struct {
		Partitions []struct {
			ID      string
			Regions map[string]struct{}
		}
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		t.Fatal(err)
	}
	if len(metadata.Partitions) != len(partitions) {
		t.Errorf("got %d partitions, want %d", len(partitions), len(metadata.Partitions))
	}
	for _, partition := range metadata.Partitions {
		for region := range partition.Regions {
			if strings.HasSuffix(region, "-global") { // not a Region, but the signing Region of global services
				continue
			}
			if got := PartitionOf(region); got != partition.ID {
				t.Errorf("%s: got %q, want %s", region, got, partition.ID)
			}
		}
	}
}
