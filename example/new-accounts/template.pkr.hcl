# Copies the current AMI to accounts that have joined an organizational unit, without a build.

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

# The SSM parameter in the source account that names the current AMI. The job that builds the AMI writes it.
variable "source_ami_parameter" {
  type    = string
  default = "/golden/source-ami"
}

# How often copies are checked. Tests set 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
}

data "amazon-parameterstore" "source_ami" {
  name   = var.source_ami_parameter
  region = var.region
}

source "null" "current" {
  communicator = "none"
}

build {
  sources = ["source.null.current"]

  post-processor "encrypted-ami" {
    existing_amis = { (var.region) = data.amazon-parameterstore.source_ami.value }
    kms_key_id    = "alias/golden-source"
    poll_interval = var.poll_interval

    target {
      name                    = "workloads"
      organizational_unit_ids = [var.organizational_unit_id]
      on_missing_role         = "skip" # until the role is created, each run skips the account
      kms_key_id              = "alias/golden-target"

      assume_role {
        role_name   = "golden-image-target"
        external_id = var.external_id
      }
    }
  }
}
