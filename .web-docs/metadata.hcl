# Copyright The packer-plugin-encrypted-ami Authors
# SPDX-License-Identifier: MPL-2.0

# What HashiCorp's site shows of the plugin: https://github.com/hashicorp/integration-template#metadata-configuration
integration {
  name        = "Encrypted AMI"
  description = "Gives every AWS account its own copy of an AMI, encrypted with that account's own KMS key."
  identifier  = "packer/encrypted-ami/encrypted-ami"
  license {
    type = "MPL-2.0"
    url  = "https://github.com/encrypted-ami/packer-plugin-encrypted-ami/blob/main/LICENSE"
  }
  component {
    type = "post-processor"
    name = "Encrypted AMI"
    slug = "encrypted-ami"
  }
  component {
    type = "data-source"
    name = "Preflight"
    slug = "preflight"
  }
}
