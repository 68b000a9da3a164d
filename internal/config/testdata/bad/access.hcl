# source credentials
region              = "Ireland"
secret_key          = "hush-secret"
token               = "hush-token"
custom_endpoint_ec2 = "ec2.custom.endpoint.com"
max_retries         = -1
assume_role_from    = "base"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
