manifest_path = "./out/run.txt"
report_path   = "out/run.txt"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
