# roles
assume_role {
  role_arn         = "arn:aws:iam::111111111111:role/ci/builder"
  duration_seconds = 60
  policy           = "not JSON"
  tags             = { team = "os" }
  transitive_tag_keys = ["cost"]
}

target {
  name        = "another account's role"
  account_ids = ["999999999999", "888888888888"]
  kms_key_id  = "default"
  assume_role {
    role_arn = "arn:aws:iam::555555555555:role/hub"
  }
  assume_role {
    role_arn         = "arn:aws:iam::999999999999:role/golden-image-target"
    external_id      = "hush hush"
    source_identity  = "aws:ci"
    duration_seconds = 7200
    policy_arns      = ["arn:aws:iam::aws:policy/ReadOnlyAccess", "ReadOnlyAccess"]
  }
}

target {
  name        = "role and profile"
  account_ids = ["777777777777"]
  kms_key_id  = "default"
  assume_role { role_name = "golden-image-target" }
  profile     = "golden"
}

target {
  name        = "an ARN"
  account_ids = ["666666666666"]
  kms_key_id  = "default"
  assume_role { role_name = "arn:aws:iam::666666666666:role/golden-image-target" }
}

organizations_role {
  role_name = "organization-reader"
}

target {
  name        = "two names"
  account_ids = ["555555555555"]
  kms_key_id  = "default"
  assume_role {
    role_name    = "golden-image-target"
    role_arn     = "arn:aws:iam::555555555555:role/golden-image-target"
    session_name = "{{ .PackerRunUUID }}"
  }
}

target {
  name        = "no name"
  account_ids = ["444444444444"]
  kms_key_id  = "default"
  assume_role {
    external_id = "{{ .hush"
  }
}
