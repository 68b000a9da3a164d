// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
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

// Packer passes dynamic blocks over an unknown list as no blocks at all. A list in targets_json passes as unknown.
func TestValidate_targetsFromDataSource(t *testing.T) {
	data := `
data "null" "accounts" {
  input = "999999999999,888888888888"
}
`
	h := newHost(t, data+template("", `
  post-processor "encrypted-ami" {
    kms_key_id = "alias/golden-source"
    dynamic "target" {
      for_each = split(",", data.null.accounts.output)
      content {
        account_ids = [target.value]
        kms_key_id  = "alias/golden-target"
        assume_role { role_name = "golden-image-target" }
      }
    }
  }
`))
	says(t, h.packer(t, 1, "validate", "."), "target: missing", "-evaluate-datasources", "targets_json")
	h.packer(t, 0, "validate", "-evaluate-datasources", ".")

	h.write(t, data+template("", `
  post-processor "encrypted-ami" {
    kms_key_id   = "alias/golden-source"
    targets_json = jsonencode([for account in split(",", data.null.accounts.output) : {
      account_ids = [account]
      kms_key_id  = "alias/golden-target"
      assume_role = [{ role_name = "golden-image-target" }]
    }])
  }
`))
	h.packer(t, 0, "validate", ".")
	h.packer(t, 0, "validate", "-evaluate-datasources", ".")
}

func TestValidate_nothingToDo(t *testing.T) {
	h := newHost(t, template("", `
  post-processor "encrypted-ami" {
    kms_key_id = "alias/golden-source"
  }
`))
	says(t, h.packer(t, 1, "validate", "."), "target: missing", "share")
}

// What AWS would refuse after the copies is refused before the build.
func TestValidate_limitsOfAWS(t *testing.T) {
	h := newHost(t, template("", sharing(prod+`
      ami_name        = "golden*"
      ami_description = "Golden — image"
      tags            = { team = "`+strings.Repeat("x", 257)+`" }
`)))
	says(t, h.packer(t, 1, "validate", "."), "ami_name", "ami_description", "ASCII", "257 characters")
}

func TestThreeHundredTargetsFromOneListPassValidate(t *testing.T) {
	h := newHost(t, `
locals {
  targets = [for i in range(300) : {
    name        = "account ${i}"
    account_ids = [format("%012d", i + 1)]
    kms_key_id  = "alias/golden-{{ .Region }}"
    assume_role = [{ role_arn = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/golden-image-target" }]
  }]
}
`+template("", `
  post-processor "encrypted-ami" {
    kms_key_id   = "alias/golden-source"
    targets_json = jsonencode(local.targets)
  }
`))
	h.packer(t, 0, "validate", ".")
	broken := strings.Replace(string(must(os.ReadFile(filepath.Join(h.Folder, "template.pkr.hcl")))(t)), "kms_key_id  = \"alias/golden-{{", "kms_key  = \"alias/golden-{{", 1)
	h.write(t, broken)
	says(t, h.packer(t, 1, "validate", "."), `targets_json[299]: unsupported attribute "kms_key"`)
}
