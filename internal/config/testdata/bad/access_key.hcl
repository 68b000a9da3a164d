# one way to the credentials hides the others
profile                 = "golden"
access_key              = "AKIAEXAMPLE"
shared_credentials_file = "/etc/aws/credentials"
assume_role_from        = "target"

assume_role {
  session_name = "x"
}

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
