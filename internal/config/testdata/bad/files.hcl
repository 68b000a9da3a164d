output_directory = "./{{ .Region }}/{{ .AMIs }}"

target {
  account_ids = ["999999999999"]
  kms_key_id  = "default"
}
