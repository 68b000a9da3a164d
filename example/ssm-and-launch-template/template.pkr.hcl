# Names the new AMI in a parameter and a launch template of the target, once the AMIs of all required targets are launched and verified.
#
# You need keys, a role, and the launch template "web" in the target account.

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
    publish       = "all" # publish nothing before the AMIs of all required targets are verified
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

      # Launch templates and groups read it as resolve:ssm:/golden/ami.
      ssm_parameter {
        name = "/golden/ami"
      }

      # A new version, based on the default one, becomes the default.
      launch_template {
        name                = "web"
        set_default_version = true
      }
    }
  }
}
