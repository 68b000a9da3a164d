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

// The SDK does not export its metadata of partitions, so ours is held against the file in its module.
func TestPartitionsAreTheSDKs(t *testing.T) {
	folder, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "internal/endpoints/awsrulesfn/partitions.json"))
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
		t.Errorf("%d partitions, the SDK has %d", len(partitions), len(metadata.Partitions))
	}
	for _, partition := range metadata.Partitions {
		for region := range partition.Regions {
			if strings.HasSuffix(region, "-global") { // no Region: where global services sign
				continue
			}
			if got := PartitionOf(region); got != partition.ID {
				t.Errorf("%s is of %q, the SDK says %s", region, got, partition.ID)
			}
		}
	}
}
