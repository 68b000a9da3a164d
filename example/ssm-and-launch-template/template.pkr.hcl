# Names the new image in a parameter and a launch template of the target, once all required targets have theirs, and each was launched.
#
# Beforehand, besides keys and role: the launch template "web" in the target account.

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

variable "target_account" {
  type    = string
  default = "999999999999"
}

# How often to look at copies; tests, whose copies take seconds, set 1s.
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
    publish       = "all" # no name moves before the images of all required targets are proved
    poll_interval = var.poll_interval

    target {
      name        = "prod"
      account_ids = [var.target_account]
      kms_key_id  = "alias/golden-target"

      assume_role {
        role_arn    = "arn:aws:iam::${var.target_account}:role/golden-image-target"
        external_id = var.external_id
      }

      launch_check {
        instance_type = "t3.micro"
      }

      # Read by launch templates and groups as resolve:ssm:/golden/ami.
      ssm_parameter {
        name = "/golden/ami"
      }

      # A further version, made from the default one, is the default from then on.
      launch_template {
        name                = "web"
        set_default_version = true
      }
    }
  }
}
