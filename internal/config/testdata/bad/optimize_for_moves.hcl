optimize_for = "time"
mode         = "promote"

existing_amis = { ap-northeast-1 = "ami-0123456789abcdef0" }

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"

  ssm_parameter {
    name = "/golden/ami"
  }
}
