mode                    = "cleanup"
max_failed_destinations = 1
on_failure              = "cleanup"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
