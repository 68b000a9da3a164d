# the template shows which account is the source account
assume_role {
  role_arn = "arn:aws:iam::111111111111:role/builder"
}

target {
  name        = "the source account"
  account_ids = ["111111111111"]
  kms_key_id  = "alias/golden"
}

target {
  name        = "another account"
  account_ids = ["999999999999"]
  kms_key_id  = "alias/golden"
}
