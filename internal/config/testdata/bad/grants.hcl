# grants
target {
  name        = "prod"
  account_ids = ["999999999999"]
  kms_key_id  = "alias/golden"
  kms_grant {
    grantee_principal = "AWSServiceRoleForAutoScaling"
    operations        = ["Decrypt", "Sign", "Decrypt"]
    name              = "a b"
  }
  kms_grant {
    grantee_principal = "arn:aws:iam::{{ .Account }}:role/app"
  }
  kms_grant {
    grantee_principal = "arn:aws-cn:iam::999999999999:role/app"
  }
  regions = ["eu-west-1"]
}
