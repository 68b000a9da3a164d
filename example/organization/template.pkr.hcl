# Copies an AMI to all accounts of an organizational unit, and checks the accounts before the build.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.0"
    }
    encrypted-ami = {
      source  = "github.com/encrypted-ami/encrypted-ami"
      version = ">= 0.1.0"
    }
  }
}

variable "region" {
  type    = string
  default = "ap-northeast-1"
}

variable "external_id" {
  type      = string
  sensitive = true
}

# The unit whose accounts, and those of its child units, get the AMI.
variable "organizational_unit_id" {
  type    = string
  default = "ou-ab12-34567890"
}

# How often copies are checked. Tests set 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
}

# The maximum duration of a run, less than the life of the runner. The resume file continues an unfinished run.
variable "timeout" {
  type    = string
  default = "12h"
}

# One list for the check before the build and for the run.
locals {
  targets = [
    {
      name                    = "workloads"
      organizational_unit_ids = [var.organizational_unit_id]
      on_missing_role         = "skip" # an account without the role is reported and skipped
      kms_key_id              = "alias/golden-target"
      assume_role = [{
        role_arn    = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/golden-image-target"
        external_id = var.external_id
      }]
    },
  ]
}

# Checks the accounts, their roles and keys, and how the AMI will be encrypted. An error stops Packer before the build.
data "encrypted-ami-preflight" "golden" {
  kms_key_id   = "alias/golden-source"
  targets_json = jsonencode(local.targets)

  amazon_ebs {
    region = var.region
    source_ami_filter {
      owners      = ["self"]
      most_recent = true
      filters = {
        name = "base-*"
      }
    }
  }
}

source "amazon-ebs" "golden" {
  region        = var.region
  instance_type = "t3.micro"
  ami_name      = "golden-{{timestamp}}"
  communicator  = "none" # with provisioners: ssh_username

  source_ami_filter {
    owners      = ["self"]
    most_recent = true
    filters = {
      name = "base-*"
    }
  }
}

build {
  sources = ["source.amazon-ebs.golden"]

  post-processor "encrypted-ami" {
    kms_key_id    = "alias/golden-source"
    targets_json  = data.encrypted-ami-preflight.golden.targets_json
    timeout       = var.timeout
    poll_interval = var.poll_interval
  }
}
