allow_older_release = true
only_targets        = ["prod"]

target {
  name        = "prod"
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
