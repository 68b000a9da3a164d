// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Two principals have different permissions on a shared key. No statement lets one of them get a grant for the
// operations of the other.
func TestShareGrants_onlyRequestedOperations(t *testing.T) {
	req, facts := world()
	req.Targets = nil
	facts.Sites[distribution.Location{Account: others[0], Region: tokyo}] = distribution.DestinationFacts{
		Identity: distribution.CallerIdentity{Account: others[0]},
	}
	req.Shares = []distribution.Share{
		{
			Name:       "share",
			AccountIDs: others[:1],
			Roles:      []distribution.Role{{RoleName: "granter"}},
			Grants: []distribution.Grant{
				{Grantee: "arn:aws:iam::444444444444:role/reader", Operations: []string{"Decrypt"}},
				{Grantee: "arn:aws:iam::444444444444:role/other", Operations: []string{"Decrypt"}},
				{Grantee: "arn:aws:iam::444444444444:role/launcher", Operations: []string{"CreateGrant", "Decrypt"}},
			},
		},
	}
	statements := 0
	for _, f := range plan.Assess(req, facts).Decide().Findings {
		if f.Reference != "3.1.6" {
			continue
		}
		for _, a := range f.PolicyStatements {
			statement := a.Statement.String()
			if !strings.Contains(statement, "kms:GrantOperations") {
				continue
			}
			statements++
			all := strings.Contains(
				statement,
				`["CreateGrant","Decrypt"]`,
			)
			if strings.Contains(statement, "role/launcher") != all || strings.Contains(statement, "role/reader") == all ||
				strings.Contains(statement, "role/other") == all {
				t.Errorf("%s", statement)
			}
		}
	}
	if statements != 4 { // two sets of operations, for the key's policy and for the role's
		t.Errorf("%d statements, want 4", statements)
	}
}
