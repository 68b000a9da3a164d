// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// many is one list of targets for the preflight and for the run.
const many = `
variable "base" { type = string }

locals {
  targets = [for i in range(300) : {
    name        = "account ${i}"
    account_ids = [format("2%011d", i)]
    kms_key_id  = "alias/golden-target"
    assume_role = [{ role_name = "golden-image-target" }]
  }]
}

data "encrypted-ami-preflight" "golden" {
  kms_key_id   = "alias/golden-source"
  targets_json = jsonencode(local.targets)

  amazon_ebs {
    region = "ap-northeast-1"
    source_ami = var.base
  }
}
` + underNull + `
    kms_key_id    = "alias/golden-source"
    existing_amis = { "ap-northeast-1" = var.base }
    targets_json = data.encrypted-ami-preflight.golden.targets_json
    mode         = "plan"
  }
}
`

// A list of three hundred accounts passes the preflight before the build. The data source passes it to the
// post-processor, which plans for all.
func TestTargets_threeHundredByDataSource(t *testing.T) {
	h, inside := newHostInside(t, many)
	accounts := make([]string, 300)
	err := inside.Build(func(b *awssim.Builder) error {
		for i := range accounts {
			accounts[i] = fmt.Sprintf("2%011d", i)
			if err := join(t, b, accounts[i]); err != nil {
				return err
			}
		}
		return permitTargets(t, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	begun := len(inside.Records())
	output := h.packer(t, 0, "build", "-color=false", "-var=base="+*image(t, h.World, source, "base-1").ImageId, ".")
	says(t, output, accounts[0], accounts[19], "and 280 more")
	for _, call := range inside.Records()[begun:] {
		for _, prefix := range []string{"ec2:Copy", "ec2:Register", "ec2:Modify"} {
			if !call.DryRun && strings.HasPrefix(call.Action, prefix) {
				t.Fatalf("%s was called", call.Action)
			}
		}
	}
}

// join creates the key of a target account, and a role that the source account may assume.
func join(t *testing.T, b *awssim.Builder, account string) error {
	keys, roles := kms.NewFromConfig(b.Config(account, region)), iam.NewFromConfig(b.Config(account, region))
	key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		return err
	}
	if _, err := keys.CreateAlias(
		t.Context(),
		&kms.CreateAliasInput{AliasName: aws.String("alias/golden-target"), TargetKeyId: key.KeyMetadata.KeyId},
	); err != nil {
		return err
	}
	name := aws.String("golden-image-target")
	_, err = roles.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": {
			"Effect": "Allow",
			"Principal": {"AWS": "arn:aws:iam::` + source + `:root"},
			"Action": "sts:AssumeRole"
		}}`,
	)})
	if err != nil {
		return err
	}
	_, err = roles.PutRolePolicy(
		t.Context(),
		&iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("permissions"), PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["ec2:*", "kms:*"], "Resource": "*"}}`)},
	)
	return err
}

// permitTargets lets the role with that name in every account use the source key, and lets the builder assume it.
func permitTargets(t *testing.T, b *awssim.Builder) error {
	keys := kms.NewFromConfig(b.Config(source, region))
	key, err := keys.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/golden-source")})
	if err != nil {
		return err
	}
	_, err = keys.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: key.KeyMetadata.KeyId, Policy: aws.String(
		`{"Version": "2012-10-17", "Statement": [
			{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` + source + `:root"}, "Action": "kms:*", "Resource": "*"},
			{
				"Effect": "Allow",
				"Principal": {"AWS": "*"},
				"Action": ["kms:DescribeKey", "kms:Decrypt", "kms:ReEncryptFrom", "kms:CreateGrant"],
				"Resource": "*",
				"Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/golden-image-target"}}
			}
		]}`)})
	if err != nil {
		return err
	}
	_, err = iam.NewFromConfig(b.Config(source, region)).PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName:   aws.String("builder"),
		PolicyName: aws.String("many"),
		PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}}`,
		),
	})
	return err
}
