mode                    = "promote"
only_targets            = ["prod", "stage"]
max_failed_destinations = 1

target {
  name        = "prod"
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
