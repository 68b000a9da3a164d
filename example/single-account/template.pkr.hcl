# Builds a golden image in one account and hands it to another, which gets an image of its own under a key of its own.
#
# Beforehand: a key in the source account whose policy lets the target account use it; in the target account a key, and a
# role that the source account may assume with the external id.
#
# After a run that failed the image is still there, and the message ends with the command that goes on from it.

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

variable "target_account" {
  type    = string
  default = "999999999999"
}

variable "external_id" {
  type      = string
  sensitive = true
}

# Images to go on with: given by that command only.
variable "existing_amis" {
  type    = map(string)
  default = {}
}

# How often to look at copies; the demo, whose copies take seconds, sets 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
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
    poll_interval = var.poll_interval

    target {
      name        = "prod"
      account_ids = [var.target_account]
      kms_key_id  = "alias/golden-target"

      assume_role {
        role_arn    = "arn:aws:iam::${var.target_account}:role/golden-image-target"
        external_id = var.external_id
      }
    }
  }
}

# Goes on after a run that failed, with the same post-processor. Where no image is given it does nothing.
build {
  name    = "redo"
  sources = ["source.null.redo"]

  post-processor "encrypted-ami" {
    existing_amis = var.existing_amis
    kms_key_id    = "alias/golden-source"
    poll_interval = var.poll_interval

    target {
      name        = "prod"
      account_ids = [var.target_account]
      kms_key_id  = "alias/golden-target"

      assume_role {
        role_arn    = "arn:aws:iam::${var.target_account}:role/golden-image-target"
        external_id = var.external_id
      }
    }
  }
}
