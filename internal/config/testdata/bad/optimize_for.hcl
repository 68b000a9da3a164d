optimize_for = "speed"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
