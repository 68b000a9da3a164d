// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestValidate_reportsAllMistakesByField(t *testing.T) {
	h := newHost(t, template("", sharing(`
      account_ids = [12345678901]
      regions     = ["nowhere-1"]
`)))
	output := h.packer(t, 1, "validate", ".")
	says(t, output, "account_ids", "Write it as a string", "regions", "nowhere-1", "kms_key_id")
}

// For dynamic blocks over an unknown list, Packer passes no blocks at all. It passes targets_json as unknown.
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

	h.writeTemplate(t, data+template("", `
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

// Values that AWS would refuse after the copies are refused before the build.
func TestValidate_limitsOfAWS(t *testing.T) {
	h := newHost(t, template("", sharing(prod+`
      ami_name        = "golden*"
      ami_description = "Golden — image"
      tags            = { team = "`+strings.Repeat("x", 257)+`" }
`)))
	says(t, h.packer(t, 1, "validate", "."), "ami_name", "ami_description", "ASCII", "257 characters")
}

func TestValidate_threeHundredTargets(t *testing.T) {
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
	broken := strings.Replace(string(must(os.ReadFile(filepath.Join(h.Folder, "template.pkr.hcl")))(t)), "kms_key_id  = "+
		"\"alias/golden-{{", "kms_key  = \"alias/golden-{{", 1)
	h.writeTemplate(t, broken)
	says(t, h.packer(t, 1, "validate", "."), `targets_json[299]: unsupported attribute "kms_key"`)
}

// These are the blocks and options that amazon-ebs documents. The builder and this plugin must accept the same text.
const (
	roleOfBuilder = `
    assume_role {
      role_arn            = "arn:aws:iam::111111111111:role/builder"
      session_name        = "packer"
      external_id         = "golden-images-4711"
      duration_seconds    = 3600
      policy              = jsonencode({
        Version   = "2012-10-17"
        Statement = [{ Effect = "Allow", Action = "*", Resource = "*" }]
      })
      policy_arns         = ["arn:aws:iam::aws:policy/AdministratorAccess"]
      tags                = { team = "platform" }
      transitive_tag_keys = ["team"]
    }
`
	imageOfBuilder = `
    ami_description            = "Golden image"
    ami_users                  = ["777777777777"]
    ami_org_arns               = ["arn:aws:organizations::111111111111:organization/o-1234567890"]
    ami_ou_arns                = ["arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"]
    tags                       = { team = "platform" }
    snapshot_tags              = { team = "platform" }
    force_deregister           = true
    force_delete_snapshot      = true
    deprecate_at               = timeadd(timestamp(), "2160h")

    deregistration_protection {
      enabled       = true
      with_cooldown = true
    }

    fast_launch {
      enable_fast_launch    = true
      template_name         = "windows"
      template_version      = 2
      max_parallel_launches = 6
      target_resource_count = 10
    }
`
	volumesOfBuilder = `
    launch_block_device_mappings {
      device_name           = "/dev/xvda"
      encrypted             = true
      kms_key_id            = "alias/golden-source"
      volume_type           = "gp3"
      volume_size           = 20
      iops                  = 3000
      throughput            = 125
      delete_on_termination = true
    }
    launch_block_device_mappings {
      device_name = "/dev/xvdc"
      no_device   = true
    }
    launch_block_device_mappings {
      device_name  = "/dev/xvdd"
      virtual_name = "ephemeral0"
    }
`
)

func TestValidate_blocksOfAmazonEBS(t *testing.T) {
	h := newHost(t, template(`
    ami_regions                = ["ap-northeast-1"]
`+roleOfBuilder+imageOfBuilder+volumesOfBuilder, `
  post-processor "encrypted-ami" {
    kms_key_id = "alias/golden-source"
`+roleOfBuilder+`
    target {
      account_ids = ["999999999999"]
      kms_key_id  = "alias/golden-target"
      ami_name    = "golden"
`+strings.ReplaceAll(roleOfBuilder, "111111111111", "999999999999")+imageOfBuilder+`
    }
  }
`)+preflight(volumesOfBuilder, prod))
	h.packer(t, 0, "validate", ".")
}

// A JSON template may use user variables and template functions in targets, as in builders.
func TestBuild_legacyJSON(t *testing.T) {
	const legacy = `{
  "variables": {"external_id": "golden-images-4711", "owner": "platform"},
  "builders": [{
    "type": "amazon-ebs", "region": "ap-northeast-1", "instance_type": "t3.micro", "communicator": "none",
    "source_ami_filter": {"owners": ["self"], "most_recent": true, "filters": {"name": "base-*"}},
    "ami_name": "golden-{{timestamp}}"
  }],
  "post-processors": [{
    "type": "encrypted-ami",
    "kms_key_id": "alias/golden-source",
    "poll_interval": "1s",
    "output_directory": "{{user ` + "`owner`" + `}}/{{ .AMI }}",
    "target": [{
      "account_ids": ["999999999999"],
      "kms_key_id": "alias/golden-target",
      "ami_name": "golden-{{ isotime ` + "`2006-01-02`" + ` }}-{{ build_name }}",
      "tags": {"owner": "{{ user ` + "`owner`" + ` }}", "team": "{{ env ` + "`TEAM`" + ` }}"},
      "assume_role": [{"role_name": "golden-image-target", "external_id": "{{ user ` + "`external_id`" + ` }}"}]
    }]
  }]
}
`
	h := newHost(t, "")
	h.Env = append(h.Env, "TEAM=golden images")
	write := func(text string) string {
		path := filepath.Join(h.Folder, "template.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	says(
		t,
		h.packer(t, 1, "validate", write(strings.Replace(legacy, "{{ build_name }}", "{{ .Acount }}", 1))),
		"{{ .Acount }}",
		".AccountId",
	)
	h.packer(t, 0, "build", "-color=false", write(legacy))

	images := owned(t, h.World, target, region)
	if len(images) != 1 {
		t.Fatalf("got %d images, want 1", len(images))
	}
	created := must(time.Parse(time.RFC3339, *built(t, h.World).CreationDate))(t)
	if want := "golden-" + created.Format(time.DateOnly) + "-amazon-ebs"; *images[0].Name != want {
		t.Errorf("got the name %s, want %s", *images[0].Name, want)
	}
	tags := map[string]string{}
	for _, tag := range images[0].Tags {
		tags[*tag.Key] = *tag.Value
	}
	if tags["owner"] != "platform" || tags["team"] != "golden images" {
		t.Errorf("got the tags %v", tags)
	}
	if _, err := os.Stat(filepath.Join(h.Folder, "platform", *built(t, h.World).ImageId, "manifest.json")); err != nil {
		t.Error(err)
	}
}

// built returns the AMI that the builder created.
func built(t *testing.T, w *World) types.Image {
	t.Helper()
	for _, image := range owned(t, w, source, region) {
		if strings.HasPrefix(*image.Name, "golden-") {
			return image
		}
	}
	t.Fatal("the builder created no AMI")
	return types.Image{}
}
