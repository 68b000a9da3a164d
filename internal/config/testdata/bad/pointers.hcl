# what names the image
target {
  name        = "prod"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["999999999999"]
  kms_key_id  = "alias/golden-target"
  ssm_parameter {
    name        = "golden/ami"
    type        = "StringList"
    data_type   = "aws:ssm:integration"
    tier        = "Cheap"
    tags        = { "aws:x" = "1", from = "{{ .Source }}" }
    description = "{{ .AMI"
  }
  ssm_parameter {
    name   = "/aws/golden"
    key_id = "alias/golden-target"
  }
  ssm_parameter {
    name      = "/golden/{{ .Regoin }}"
    type      = "SecureString"
    data_type = "aws:ec2:image"
    key_id    = "golden"
  }
  ssm_parameter {
    name = "golden"
  }
  ssm_parameter {
    name = "/golden"
  }
  ssm_parameter {
    name = ""
  }
  ssm_parameter {
    name = "/golden ami"
  }
  ssm_parameter {
    name = "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16"
  }
  launch_template {}
  launch_template {
    name           = "web"
    source_version = "$Newest"
    description    = "{{ .AMI"
  }
  launch_template {
    name = "web {{ .Regoin }}"
  }
  launch_template {
    name = "web"
  }
  launch_template {
    name = "lt-0123456789abcdef0"
  }
}

target {
  name        = "everybody"
  assume_role { role_name = "golden-image-target" }
  account_ids = ["888888888888", "777777777777"]
  kms_key_id  = "default"
  launch_template {
    name = "web {{ uuid }}"
  }
}
