# launch checks
run_tags  = { "aws:x" = "1", from = "{{ .Target }}" }

target {
  name        = "prod"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["999999999999", "888888888888"]
  kms_key_id  = "alias/golden"
  launch_check {
    subnet_id = "subnet-0123456789abcdef0"
  }
}

target {
  name        = "test"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["777777777777"]
  kms_key_id  = "alias/golden"
  launch_check {
    instance_type = "huge"
    subnet_id     = "vpc-0123456789abcdef0"
    subnet_filter {
      filters = { "" = "x" }
    }
  }
}

target {
  name        = "no filters"
  account_ids = ["666666666666"]
  kms_key_id  = "alias/golden"
  assume_role { role_name = "golden-image-target" }
  launch_check {
    instance_type = "t3.micro"
    subnet_filter {
      filters = {}
    }
  }
}
