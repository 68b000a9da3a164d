# One list of targets, checked before the build and used after it.

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

variable "account_ids" {
  type    = list(string)
  default = ["999999999999"]
}

variable "external_id" {
  type      = string
  sensitive = true
}

# How often copies are checked. Tests set 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
}

locals {
  region = "ap-northeast-1"
  targets = [for account in var.account_ids : {
    name        = account
    account_ids = [account]
    kms_key_id  = "alias/golden-target"
    assume_role = [{
      role_arn    = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/golden-image-target"
      external_id = var.external_id
    }]
  }]
}

data "encrypted-ami-preflight" "golden" {
  kms_key_id   = "alias/golden-source"
  targets_json = jsonencode(local.targets)

  amazon_ebs {
    region = local.region
    source_ami_filter {
      owners      = ["self"]
      most_recent = true
      filters     = { name = "base-*" }
    }
    launch_block_device_mappings {
      device_name = "/dev/xvda"
      encrypted   = true
      kms_key_id  = "alias/golden-source" # encrypted with the shared key, so no staged copy is needed
    }
  }
}

source "amazon-ebs" "golden" {
  region        = local.region
  instance_type = "t3.micro"
  ami_name      = "golden-{{timestamp}}"
  communicator  = "none"
  source_ami    = data.encrypted-ami-preflight.golden.source_ami

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    encrypted             = true
    kms_key_id            = "alias/golden-source"
    delete_on_termination = true
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
