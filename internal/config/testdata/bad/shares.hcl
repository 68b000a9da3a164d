on_attribute_loss = "exact"

target {
  account_ids = ["999999999999"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "default"
  copy_method      = "copy"
}

share {
  name        = "ours"
  account_ids = ["77777777777", "888888888888", "888888888888"]
}

share {
  organization_arns        = ["o-1234567890", "arn:aws:organizations::111111111111:organization/o-1234567890"]
  organizational_unit_arns = ["arn:aws:organizations::111111111111:ou/ou-ab12-34567890", "arn:aws-cn:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"]
}

share {
  name        = "without grants"
  account_ids = ["888888888888"]
  assume_role { role_name = "fleet" }
  profile     = "fleet"
}

share {
  name        = "with grants"
  account_ids = ["888888888888"]
  assume_role {
    role_arn = "arn:aws:iam::777777777777:role/fleet"
  }
  kms_grant {
    operations = ["Launch"]
  }
}
