# The source account: a key for what is shared, in the provider's Region, and the permissions of the role that runs Packer.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "build_role" {
  description = "Name of the role that runs Packer, which exists"
  type        = string
  default     = "golden-image-build"
}

variable "target_accounts" {
  description = "Accounts that get their own copies"
  type        = list(string)
}

variable "share_accounts" {
  description = "Accounts of share blocks, which launch without a copy of their own"
  type        = list(string)
  default     = []
}

variable "target_role" {
  description = "Name of the role in every target account"
  type        = string
  default     = "golden-image-target"
}

variable "key_alias" {
  description = "Alias of the key"
  type        = string
  default     = "alias/golden-source"
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}

locals {
  source    = data.aws_caller_identity.here.account_id
  partition = data.aws_partition.here.partition
  policies  = "${path.module}/../../../../docs/policies"
  roles     = join(", ", formatlist("\"arn:aws:iam::%s:role/${var.target_role}\"", var.target_accounts))
  roots     = join(", ", formatlist("\"arn:aws:iam::%s:root\"", var.target_accounts))
  assumed   = join(", ", formatlist("\"arn:aws:iam::%s:role/${var.target_role}\"", concat(var.share_accounts, var.target_accounts)))
  shared    = join(", ", formatlist("\"%s\"", concat(var.target_accounts, var.share_accounts)))

  # The documented policies are of an example; its accounts and names are replaced. The partition comes last.
  key_policy = replace(replace(replace(replace(file("${local.policies}/source-key.json"),
    "\"arn:aws:iam::999999999999:root\"", local.roots),
    "golden-image-target", var.target_role),
  "111111111111", local.source), "arn:aws:", "arn:${local.partition}:")
  build_policy = replace(replace(replace(replace(replace(replace(file("${local.policies}/build-role.json"),
    "\"arn:aws:iam::888888888888:role/golden-image-target\",\n        \"arn:aws:iam::999999999999:role/golden-image-target\"", local.assumed),
    "\"arn:aws:iam::999999999999:role/golden-image-target\"", local.roles),
    "\"888888888888\",\n            \"999999999999\"", local.shared),
    "arn:aws:kms:ap-northeast-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms:*:111111111111:key/*"),
  "111111111111", local.source), "arn:aws:", "arn:${local.partition}:")
}

resource "aws_kms_key" "golden" {
  description         = "Images that are shared with other accounts"
  enable_key_rotation = true
  policy              = local.key_policy

  lifecycle {
    prevent_destroy = true # images depend on it
  }
}

resource "aws_kms_alias" "golden" {
  name          = var.key_alias
  target_key_id = aws_kms_key.golden.key_id
}

resource "aws_iam_role_policy" "build" {
  name   = "encrypted-ami"
  role   = var.build_role
  policy = local.build_policy
}

output "key_arn" {
  value = aws_kms_key.golden.arn
}
