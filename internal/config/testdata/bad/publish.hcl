publish            = "some"
max_failed_destinations = 1

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
