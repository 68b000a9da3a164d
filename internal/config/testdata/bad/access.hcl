# source credentials
secret_key          = "hush-secret"
token               = "hush-token"
assume_role_from    = "base"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
