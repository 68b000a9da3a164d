# times
timeout       = "1h"
poll_interval = "6m"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
