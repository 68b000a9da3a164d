# A target account: its key, in the provider's Region, and the role that copies.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "source_account" {
  description = "Account of the build"
  type        = string
}

variable "build_role" {
  description = "Name of the role that runs Packer in the source account"
  type        = string
  default     = "golden-image-build"
}

variable "source_key_arns" {
  description = "ARNs of the keys of what is shared"
  type        = list(string)
}

variable "target_role" {
  description = "Name of the role that copies"
  type        = string
  default     = "golden-image-target"
}

variable "ami_users" {
  description = "Accounts of ami_users, which may launch this account's images"
  type        = list(string)
  default     = []
}

variable "key_alias" {
  description = "Alias of the account's own key"
  type        = string
  default     = "alias/golden-target"
}

variable "external_id" {
  description = "External id that the build role gives"
  type        = string
  sensitive   = true
}

variable "autoscaling_role" {
  description = "Whether Auto Scaling's service-linked role is made; false where the account has it"
  type        = bool
  default     = true
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}

locals {
  target    = data.aws_caller_identity.here.account_id
  partition = data.aws_partition.here.partition
  policies  = "${path.module}/../../../../docs/policies"

  # The documented policies are of an example; its accounts and names are replaced. The partition comes last.
  key_policy = replace(replace(file("${local.policies}/target-key.json"), "999999999999", local.target), "arn:aws:", "arn:${local.partition}:")
  trust_policy = replace(replace(replace(replace(file("${local.policies}/target-role-trust.json"),
    "golden-images", var.external_id), "golden-image-build", var.build_role),
  "111111111111", var.source_account), "arn:aws:", "arn:${local.partition}:")
  role_policy = replace(replace(replace(replace(file("${local.policies}/target-role.json"),
    "\"arn:aws:kms:ap-northeast-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab\"", join(", ", formatlist("\"%s\"", var.source_key_arns))),
    "\"888888888888\"", join(", ", formatlist("\"%s\"", concat([local.target], var.ami_users)))),
  "alias/golden-target", var.key_alias), "arn:aws:", "arn:${local.partition}:")
}

# The key's policy names the role of Auto Scaling, so it must exist. Auto Scaling creates it with the first group.
resource "aws_iam_service_linked_role" "autoscaling" {
  count            = var.autoscaling_role ? 1 : 0
  aws_service_name = "autoscaling.amazonaws.com"
}

resource "aws_kms_key" "golden" {
  description         = "The account's own copies of golden images"
  enable_key_rotation = true
  policy              = local.key_policy
  depends_on          = [aws_iam_service_linked_role.autoscaling]

  lifecycle {
    prevent_destroy = true # images depend on it
  }
}

resource "aws_kms_alias" "golden" {
  name          = var.key_alias
  target_key_id = aws_kms_key.golden.key_id
}

resource "aws_iam_role" "target" {
  name               = var.target_role
  assume_role_policy = local.trust_policy
}

resource "aws_iam_role_policy" "target" {
  name   = "copy"
  role   = aws_iam_role.target.name
  policy = local.role_policy
}
