cleanup_only       = true
plan_only          = true
verify_only        = true
max_failed_targets = 1
on_failure         = "clean"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
