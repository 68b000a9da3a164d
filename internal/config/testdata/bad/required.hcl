# who gets the image, and with which credentials
target {
  name       = "no account"
  assume_role { role_name = "golden-image-target" }
  kms_key_id = "alias/golden"
}

target {
  name                    = "units without a role"
  organizational_unit_ids = ["ou-ab12-cdef3456"]
  kms_key_id              = "alias/golden"
}

target {
  name        = "may be the source account"
  account_ids = ["999999999999"]
  kms_key_id  = "alias/golden"
}

target {
  name        = "without a role"
  account_ids = ["888888888888"]
  kms_key_id  = "alias/golden"
}

share {
  name = "no account"
}

share {
  name        = "grants without a role"
  account_ids = ["777777777777"]
  kms_grant {}
}
