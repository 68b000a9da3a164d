// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAllMistakesOfATemplateAreToldAtOnceAndByField(t *testing.T) {
	h := newHost(t, template("", sharing(`
      account_ids = [12345678901]
      regions     = ["nowhere-1"]
`)))
	output := h.packer(t, 1, "validate", ".")
	says(t, output, "account_ids", "quote", "regions", "nowhere-1", "kms_key_id")
}

func TestTargetsFromADataSourcePassPlainValidate(t *testing.T) {
	h := newHost(t, `
data "null" "accounts" {
  input = "999999999999,888888888888"
}
`+template("", `
  post-processor "encrypted-ami-share" {
    region     = "ap-northeast-1"
    kms_key_id = "alias/golden-source"
    dynamic "target" {
      for_each = split(",", data.null.accounts.output)
      content {
        account_ids = [target.value]
        kms_key_id  = "alias/golden-target"
        role_name   = "golden-image-target"
      }
    }
  }
`))
	h.packer(t, 0, "validate", ".")
	h.packer(t, 0, "validate", "-evaluate-datasources", ".")
}

func TestTheExamplesAreFormattedAndValid(t *testing.T) {
	h := newHost(t, "")
	examples := must(filepath.Glob("../../example/*/*.pkr.hcl"))(t)
	if len(examples) == 0 {
		t.Fatal("there is none")
	}
	for _, example := range examples {
		example = must(filepath.Abs(example))(t)
		h.packer(t, 0, "fmt", "-check", example)
		output := h.packer(t, 0, "validate", "-var", "external_id=hand-over-4711", example)
		if !strings.Contains(output, "valid") {
			t.Errorf("%s:\n%s", example, output)
		}
	}
}
