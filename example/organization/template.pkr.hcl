# Hands an image to all accounts of an organizational unit, and looks before the build whether that can work.

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

# The unit whose accounts, and those of the units below it, get the image.
variable "organizational_unit_id" {
  type    = string
  default = "ou-ab12-34567890"
}

# Images to go on with: given by the command that a failed run prints.
variable "existing_amis" {
  type    = map(string)
  default = {}
}

# How often to look at copies; tests, whose copies take seconds, set 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
}

# One list for the look before the build and for the run.
locals {
  targets = [
    {
      name                    = "workloads"
      organizational_unit_ids = [var.organizational_unit_id]
      on_missing_role         = "skip" # an account that has no role yet is told of, and left out
      kms_key_id              = "alias/golden-target"
      assume_role = [{
        role_arn    = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/golden-image-target"
        external_id = var.external_id
      }]
    },
  ]
}

# Before an instance starts: the accounts, their roles and keys, and how the image will be encrypted. What the run would refuse stops Packer here,
# but for the build redo, which looks itself.
data "encrypted-ami-preflight" "golden" {
  kms_key_id   = "alias/golden-source"
  targets_json = jsonencode(local.targets)
  fail_on      = length(var.existing_amis) > 0 ? "never" : "error"

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
  communicator  = "none" # nothing is installed here; a real image has ssh_username and provisioners

  source_ami_filter {
    owners      = ["self"]
    most_recent = true
    filters = {
      name = "base-*"
    }
  }
}

source "null" "redo" {
  communicator = "none"
}

build {
  sources = ["source.amazon-ebs.golden"]

  post-processor "encrypted-ami" {
    kms_key_id    = "alias/golden-source"
    targets_json  = data.encrypted-ami-preflight.golden.targets_json
    poll_interval = var.poll_interval
  }
}

# Goes on after a run that failed. It asks for the accounts anew, so that one that has joined meanwhile is served as well.
build {
  name    = "redo"
  sources = ["source.null.redo"]

  post-processor "encrypted-ami" {
    existing_amis = var.existing_amis
    kms_key_id    = "alias/golden-source"
    targets_json  = jsonencode(local.targets)
    poll_interval = var.poll_interval
  }
}
