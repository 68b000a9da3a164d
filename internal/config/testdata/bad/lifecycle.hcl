target {
  account_ids                    = ["999999999999"]
  role_name                      = "golden-image-target"
  kms_key_id                     = "alias/golden"
  snapshot_copy_duration_minutes = 20
  deprecate_at                   = "next year"
  deprecate_after                = "-1h"
  force_delete_snapshot          = true
  ami_users                      = ["999999999999", "1"]
  ami_org_arns                   = ["o-1"]
  deregistration_protection {
    enabled       = false
    with_cooldown = true
  }
}
target {
  account_ids      = ["888888888888"]
  role_name        = "golden-image-target"
  kms_key_id       = "alias/golden"
  force_deregister = true
}
