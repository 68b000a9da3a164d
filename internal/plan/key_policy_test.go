// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

func TestKeyPolicyAllows(t *testing.T) {
	const key = "arn:aws:kms:ap-northeast-1:111111111111:key/0a1b2c3d-0000-4000-8000-0123456789ab"
	who := distribution.CallerIdentity{
		Account:   "999999999999",
		ARN:       "arn:aws:sts::999999999999:assumed-role/golden-image-target/encrypted-ami",
		Partition: "aws",
	}
	policy := func(principal, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{
			"Effect":"Allow",
			"Principal":{"AWS":"` + principal + `"},
			"Action":"kms:*",
			"Resource":"*"` + condition + `
		}]}`
	}
	for _, c := range []struct {
		name, document string
		allows, known  bool
	}{
		{"the account", policy("arn:aws:iam::999999999999:root", ""), true, true},
		{"the role", policy("arn:aws:iam::999999999999:role/golden-image-target", ""), true, true},
		{"another account", policy("arn:aws:iam::888888888888:root", ""), false, true},
		{
			"the account, for AWS's services",
			policy("arn:aws:iam::999999999999:root", `,"Condition":{"Bool":{"kms:GrantIsForAWSResource":"true"}}`),
			true,
			true,
		},
		{
			"the account, through EC2",
			policy(
				"arn:aws:iam::999999999999:root",
				`,"Condition":{"StringEquals":{"kms:ViaService":"ec2.ap-northeast-1.amazonaws.com"}}`,
			),
			true,
			true,
		},
		{
			"the account, through another service",
			policy(
				"arn:aws:iam::999999999999:root",
				`,"Condition":{"StringEquals":{"kms:ViaService":"rds.ap-northeast-1.amazonaws.com"}}`,
			),
			false,
			true,
		},
		{"an organization", policy("*", `,"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890"}}`), false, false},
		{
			"a role of that name with a path",
			policy("arn:aws:iam::999999999999:role/ci/golden-image-target", ""),
			false,
			false,
		},
		{
			"roles of a path",
			policy("*", `,"Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/platform/*"}}`),
			false,
			false,
		},
		{
			"a service-linked role",
			policy("arn:aws:iam::999999999999:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", ""),
			false,
			true,
		},
		{
			"roles of another name",
			policy("*", `,"Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/other"}}`),
			false,
			true,
		},
		{
			"the account, in calls of services",
			policy("arn:aws:iam::999999999999:root", `,"Condition":{"Bool":{"aws:ViaAWSService":"true"}}`),
			false,
			false,
		},
		{
			"the account, in a Region",
			policy("arn:aws:iam::999999999999:root", `,"Condition":{"StringEquals":{"aws:RequestedRegion":"ap-northeast-1"}}`),
			false,
			false,
		},
		{
			"the account, for some grants",
			policy(
				"arn:aws:iam::999999999999:root",
				`,"Condition":{"ForAllValues:StringEquals":{"kms:GrantOperations":["Decrypt"]}}`,
			),
			false,
			false,
		},
		{"no policy", `{`, false, false},
	} {
		allows, err := plan.KeyPolicyAllows(c.document, key, who)
		if allows != c.allows || (err == nil) != c.known {
			t.Errorf("%s: got %v, %v", c.name, allows, err)
		}
	}
}
