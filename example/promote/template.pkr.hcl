# Builds a release and copies it to the target, where no parameter and no launch template names it yet. After an approval, the same template promotes it or rolls it back.
#
# You need keys, a role, and the launch template "web" in the target account. workflow.yml is the workflow for GitHub Actions.

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

# distribute, promote or rollback
variable "mode" {
  type    = string
  default = "distribute"
}

# The source AMI to promote or to roll back, by Region.
variable "existing_amis" {
  type    = map(string)
  default = {}
}

# hold: no parameter and no launch template names the new AMI before it is promoted.
variable "publish" {
  type    = string
  default = "hold"
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

# Promoting and rolling back build nothing.
source "null" "release" {
  communicator = "none"
}

build {
  sources = ["source.amazon-ebs.golden", "source.null.release"]

  post-processor "encrypted-ami" {
    mode          = var.mode
    existing_amis = source.type == "null" ? var.existing_amis : null
    publish       = var.publish
    image_family  = "golden"
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

      ssm_parameter {
        name = "/golden/ami"
      }

      launch_template {
        name                = "web"
        set_default_version = true
      }

      # The release before must still exist to be rolled back to.
      retention {
        keep_releases = 3
      }
    }
  }
}
