# Builds a golden image in one account and hands it to another, which gets an image of its own under a key of its own.
#
# Beforehand: a key in the source account whose policy lets the target account use it; in the target account a key, and a
# role that the source account may assume with the external id.
#
# After a failed run the AMI is kept, and the error ends with the command that resumes the run.

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
