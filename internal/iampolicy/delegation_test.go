// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import "testing"

// A service-linked role can have no policies, so it uses the key of another account by a grant. The role's own account
// must create that grant. A grant of the key's account is not enough (rules 8.3 and A.4.10).
func TestGrant_delegated(t *testing.T) {
	const role = "arn:aws:iam::999999999999:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
	request := Request{
		Principal: Principal{
			ARN:     "arn:aws:sts::999999999999:assumed-role/AWSServiceRoleForAutoScaling/x",
			Account: "999999999999",
			Role:    role,
		},
		Action:          "kms:Decrypt",
		Resource:        "arn:aws:kms:us-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		ResourceAccount: "111111111111",
	}
	for name, row := range map[string]struct {
		issuer, grantee string
		want            bool
	}{
		"of its own account, for it":           {"999999999999", role, true},
		"of its own account, for the account":  {"999999999999", "arn:aws:iam::999999999999:root", false},
		"of its own account, for another role": {"999999999999", role + "Other", false},
		"of the key's account, for it":         {"111111111111", role, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Evaluate(
				request,
				Policies{Grants: []Grant{{Grantee: row.grantee, IssuingAccount: row.issuer, Operations: []string{"Decrypt"}}}},
			)
			if err != nil || got.Allowed != row.want {
				t.Errorf("%+v, %v; want %t", got, err, row.want)
			}
		})
	}
}
