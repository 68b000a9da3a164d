# Shares an AMI, encrypted with the source account's key, with an account whose Auto Scaling groups launch it. Nothing is copied.
#
# You need a key whose policy allows that account to launch, and in that account a grant on the key for the service-linked role of Auto Scaling. The
# commands are in docs/guides/auto-scaling.md.

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

variable "launching_account" {
  type    = string
  default = "999999999999"
}

# How often copies are checked. Tests set 1s.
variable "poll_interval" {
  type    = string
  default = "15s"
}

source "amazon-ebs" "golden" {
  region        = var.region
  instance_type = "t3.micro"
  ami_name      = "golden-{{timestamp}}"
  communicator  = "none" # with provisioners: ssh_username

  # Encrypted with the shared key, so no staged copy is needed.
  encrypt_boot = true
  kms_key_id   = "alias/golden-source"

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

    share {
      name        = "web"
      account_ids = [var.launching_account]
    }
  }
}
