# accounts and Regions
target {
  name        = "prod"
  assume_role { role_name = "golden-image-target" }
  account_ids = [012345678901, "99999999999x", "999999999999", "999999999999", "", "{{ .AccountId }}"]
  regions     = ["eu-west-1", "eu-west-1", "eu-west", "us-gov-west-1"]
  kms_key_id  = "default"
}

target {
  name        = "prod"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["888888888888", "999999999999"]
  regions     = ["us-east-1", "eu-west-1"]
  kms_key_id  = "default"
}

target {
  assume_role { role_name = "golden-image-target" }
  account_ids = ["999999999999"]
  regions     = ["us-east-1"]
}
