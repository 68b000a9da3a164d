target {
  account_ids   = ["999999999999"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id    = "alias/golden"
  retention {
    keep_releases = -1
    keep_for      = "-1h"
  }
}
target {
  account_ids           = ["888888888888"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id            = "alias/golden"
  retention {
    dry_run = true
  }
}
