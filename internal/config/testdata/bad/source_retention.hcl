source_retention {
  dry_run = true
}

target {
  name        = "prod"
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
