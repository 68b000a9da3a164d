# Builds a golden image in one account and copies it to another account, encrypted with that account's own key.
#
# You need a key in the source account that the target account may use. In the target account you need a key, and a role that the
# source account may assume with the external ID.
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

# How often copies are checked. The demo sets 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
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
