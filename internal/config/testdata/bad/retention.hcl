target {
  account_ids   = ["999999999999"]
  role_name     = "golden-image-target"
  kms_key_id    = "alias/golden"
  keep_releases = -1
  keep_for      = "-1h"
}
target {
  account_ids           = ["888888888888"]
  role_name             = "golden-image-target"
  kms_key_id            = "alias/golden"
  keep_releases_dry_run = true
}
