// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// chain returns a chain of post-processors that begins with this one.
func chain(behind string) string {
	first := strings.Replace(sharing(prod), "poll_interval", "output_directory = \"dist\"\n    poll_interval", 1)
	return "\n  post-processors {\n" + first + behind + "\n  }\n"
}

// Packer's own post-processors that follow this one see its artifact, and none of them deletes an AMI.
func TestChain_postProcessorsOfPacker(t *testing.T) {
	h := newHost(t, template("", chain(`
    post-processor "manifest" {
      output = "packer-manifest.json"
    }
    post-processor "shell-local" {
      inline = ["cp dist/manifest.json copied.json"]
    }
    post-processor "provenance" {}
    post-processor "checksum" {
      output = "sums.txt"
    }
`)))
	output := h.packer(t, 0, "build", "-color=false", ".")
	available(t, h.World, source, "golden", "aws/ebs")
	available(t, h.World, target, "golden", "golden-target")

	id := region + ":" + *image(t, h.World, target, "golden").ImageId + ":" + target
	var seen struct {
		Builds []struct {
			BuilderType string `json:"builder_type"`
			ArtifactID  string `json:"artifact_id"`
			Files       []any
		}
	}
	h.readJSON(t, "packer-manifest.json", &seen)
	if len(seen.Builds) != 1 || seen.Builds[0].ArtifactID != id || seen.Builds[0].BuilderType != "amazon-ebs" ||
		len(seen.Builds[0].Files) > 0 {
		t.Errorf("manifest: got %+v, want one build with the ID %s and no files", seen.Builds, id)
	}

	var copied struct{ Status string }
	if h.readJSON(t, "copied.json", &copied); copied.Status == "" {
		t.Error("shell-local: the manifest has no status")
	}

	var statement struct{ Subject []struct{ Name string } }
	name := "golden.packer.post-processor.encrypted-ami-" + strings.ReplaceAll(id, ":", "_") + ".provenance.json"
	h.readJSON(t, name, &statement)
	want := "packer.post-processor.encrypted-ami:" + id
	if len(statement.Subject) != 1 || statement.Subject[0].Name != want {
		t.Errorf("provenance: got the subjects %+v, want %s", statement.Subject, want)
	}

	if _, err := os.Stat(filepath.Join(h.Folder, "sums.txt")); err == nil { // the artifact has no files
		t.Error("checksum: it found a file")
	}
	if !strings.Contains(output, id) && !strings.Contains(output, target+" "+region) {
		t.Errorf("packer does not name the AMI:\n%s", output)
	}
}

// provenance names its file after the artifact's ID, and the name becomes too long for the file system. The build fails
// then, but the distribution has succeeded and stays. The documentation says where to put provenance instead.
func TestChain_provenanceOfManyDestinations(t *testing.T) {
	accounts := []string{"200000000001", "200000000002", "200000000003", "200000000004"}
	var targets strings.Builder
	for _, account := range accounts {
		targets.WriteString(`
      target {
        account_ids = ["` + account + `"]
        kms_key_id  = "alias/golden-target"
        assume_role {
          role_name = "golden-image-target"
        }
      }
`)
	}
	blocks := `
  post-processors {
%first%
    post-processor "encrypted-ami" {
      kms_key_id    = "alias/golden-source"
      poll_interval = "1s"
` + targets.String() + `    }
%last%
  }
`
	const provenance = "    post-processor \"provenance\" {}\n"
	for title, c := range map[string]struct {
		first, last string
		code        int
	}{
		"behind": {"", provenance, 1},
		"before": {provenance, "", 0},
	} {
		t.Run(title, func(t *testing.T) {
			processors := strings.NewReplacer("%first%", c.first, "%last%", c.last).Replace(blocks)
			h, inside := newHostInside(t, template("", processors))
			err := inside.Build(func(b *awssim.Builder) error {
				for _, account := range accounts {
					if err := join(t, b, account); err != nil {
						return err
					}
				}
				return permitTargets(t, b)
			})
			if err != nil {
				t.Fatal(err)
			}
			output := h.packer(t, c.code, "build", "-color=false", ".")
			if c.code != 0 {
				says(t, output, "file name too long")
			}
			for _, account := range accounts {
				available(t, h.World, account, "golden", "golden-target")
			}
			if found, _ := filepath.Glob(filepath.Join(h.Folder, "*.provenance.json")); len(found) != 1-c.code {
				t.Errorf("got the files %v", found)
			}
		})
	}
}

// readJSON reads a file that a run wrote.
func (h Host) readJSON(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, filepath.Join(h.Folder, name))), into); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
