# neither a target nor a share
kms_key_id = "alias/golden"
