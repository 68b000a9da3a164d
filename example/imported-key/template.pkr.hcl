# Encrypts what is shared with a key whose material you imported.
#
# You need the keys of docs/guides/keys-and-roles.md. Imported material can expire: a key without material is an error before anything is created.

packer {
  required_plugins {
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

variable "existing_amis" {
  type    = map(string)
  default = {}
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

source "null" "image" {
  communicator = "none"
}

build {
  sources = ["source.null.image"]

  post-processor "encrypted-ami" {
    existing_amis = var.existing_amis
    kms_key_id    = "alias/golden-imported"
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
