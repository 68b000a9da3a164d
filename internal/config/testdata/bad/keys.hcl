# keys
kms_key_id              = "alias/aws/ebs"
allow_unencrypted_share = true
region_kms_key_ids = {
  eu-west-1 = "arn:aws:kms:eu-central-1:111111111111:alias/golden"
  us-east-1 = "default"
  nowhere   = "alias/golden"
}

target {
  name        = "prod"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["999999999999"]
  regions     = ["eu-west-1", "eu-central-1", "us-east-1"]
  kms_key_id  = "0a1b2c3d-0000-4000-8000-0123456789ab"
  region_kms_key_ids = {
    us-east-1 = "golden"
    us-west-2 = "default"
  }
}

target {
  name        = "test"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["888888888888"]
  regions     = ["eu-west-1", "us-east-1"]
  kms_key_id  = "arn:aws:kms:eu-west-1:888888888888:key/mrk-0123456789abcdef0123456789abcdef"
}

target {
  name        = "china"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["777777777777"]
  kms_key_id  = "arn:aws-cn:kms:cn-north-1:777777777777:key/0a1b2c3d-0000-4000-8000-0123456789ab"
}
