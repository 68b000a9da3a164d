publish    = "hold"
kms_key_id = "alias/golden"

share {
  account_ids = ["999999999999"]

  ssm_parameter {
    name = "/golden/ami"
  }

  ssm_parameter {
    name = "golden/ami"
  }
}
