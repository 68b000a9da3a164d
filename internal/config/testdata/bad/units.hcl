organizations_role {}

target {
  organizational_unit_ids = ["production", "ou-ab12-cdef3456", "ou-ab12-cdef3456"]
  exclude_account_ids     = ["12", "999999999999", "999999999999"]
  on_missing_role            = "perhaps"
  assume_role { role_name = "golden-image-target" }
  kms_key_id              = "alias/golden-target"
}

target {
  organizational_unit_ids = ["r-ab12"]
  on_missing_role            = "skip"
  kms_key_id              = "alias/golden-target"
}
