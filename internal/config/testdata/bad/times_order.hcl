# times
timeout       = "1h"
copy_timeout  = "2h"
poll_interval = "6m"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
