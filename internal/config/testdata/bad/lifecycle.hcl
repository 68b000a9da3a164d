target {
  account_ids                    = ["999999999999"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id                     = "alias/golden"
  snapshot_copy_duration_minutes = 20
  deprecate_at                   = "next year"
  force_delete_snapshot          = true
  ami_users                      = ["999999999999", "1"]
  ami_org_arns                   = ["o-1"]
  license_configuration_arns     = ["lic-1", "arn:aws:license-manager:{{ .Regio }}:999999999999:license-configuration:lic-1", "{{"]
  deregistration_protection {
    enabled       = false
    with_cooldown = true
  }
}
target {
  account_ids      = ["888888888888"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id       = "alias/golden"
  force_deregister = true
  fast_launch {
    enable_fast_launch    = false
    max_parallel_launches = 5
    target_resource_count = -1
  }
}
target {
  account_ids = ["777777777777", "666666666666"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "alias/golden"
  fast_launch {
    template_id      = "windows"
    template_version = -1
  }
}
target {
  account_ids = ["555555555555"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "alias/golden"
  fast_launch {
    template_id   = "lt-0123456789abcdef0"
    template_name = "?"
  }
}
target {
  account_ids = ["444444444444"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "alias/golden"
  fast_launch {
    template_name = "windows"
  }
}
target {
  account_ids = ["333333333333"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "alias/golden"
  fast_launch {
    template_version = 2
  }
}
target {
  account_ids = ["222222222222"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "alias/golden"
  deprecate_at = "{{ isotime }} {{ .PackerRunUUID }}"
}
target {
  account_ids = ["111111111110"]
  assume_role { role_name = "golden-image-target" }
  kms_key_id  = "alias/golden"
  deprecate_at = "2026-01-01T00:00:00Z"
}
