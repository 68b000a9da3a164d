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

# Before an instance starts: the accounts, their roles and keys, and how the AMI will be encrypted. What would make the run fail stops Packer here.
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
  communicator  = "none" # nothing is installed here; a real image has ssh_username and provisioners

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
    poll_interval = var.poll_interval
  }
}
