# templates and names
target {
  name            = "prod"
  account_ids     = ["999999999999"]
  kms_key_id      = "alias/golden-{{ .Regoin }}"
  ami_name        = "golden {{ isotme }}"
  ami_description = "{{ .AMI"
  assume_role {
    role_arn    = "arn:{{ .Partition }}:iam::{{ .Account }}:role/t"
    external_id = "{{ hush }}"
  }
  tags          = { "aws:x" = "1", "encrypted-ami:source" = "2", from = "{{ .Source }}" }
  snapshot_tags = { "" = "x" }
}

target {
  name        = "test"
  account_ids = ["888888888888"]
  kms_key_id  = "default"
  ami_name    = "golden {{ isotime }}"
  ami_description = "{{ uuid }} {{ .PackerRunUUID }}"
  region_kms_key_ids = { eu-west-1 = "alias/{{ .Key }}" }
}

target {
  name        = "sample"
  account_ids = ["777777777777"]
  kms_key_id  = "default"
  ami_name    = "golden {{ isotime | clean_resource_name }}"
  deprecate_at = "{{ isotime `2006` }}"
  ami_description = "built {{ isotime }} — {{ timestamp }}"
}
