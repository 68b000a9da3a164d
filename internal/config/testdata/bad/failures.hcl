max_failed_destinations = -1
source_key_access = "root"
on_failure         = "abort"

existing_amis = {
  "eu-west-1"     = "ami-1"
  "cn-north-1"    = "ami-0123456789abcdef0"
  "Ireland"       = "ami-0123456789abcdef0"
  "eu-central-1"  = ""
  "eu-central-2"  = "{{ build_name }}"
}

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
