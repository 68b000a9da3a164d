// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Roles that differ only in their path get the same default grant name.
func TestValidateGrants_sameName(t *testing.T) {
	deployers := []distribution.Grant{{
		Grantee: "arn:aws:iam::{{ .AccountId }}:role/a/deployer",
	}, {Grantee: "arn:aws:iam::{{ .AccountId }}:role/b/deployer"}}
	named := []distribution.Grant{deployers[0], {Grantee: deployers[1].Grantee, Name: "another"}}
	for wanted, ask := range map[string]func(req *distribution.Request, grants []distribution.Grant){
		`target "prod": kms_grant: name`: func(req *distribution.Request, grants []distribution.Grant) {
			req.Targets[0].Grants = grants
		},
		`share "fleet": kms_grant: name`: func(req *distribution.Request, grants []distribution.Grant) {
			req.Shares = []distribution.Share{{
				Name:       "fleet",
				AccountIDs: others[:1],
				Roles:      []distribution.Role{{RoleName: "granter"}},
				Grants:     grants,
			}}
		},
	} {
		for _, grants := range [][]distribution.Grant{deployers, named} {
			req, facts := world()
			for _, account := range others {
				facts.Sites[distribution.Location{
					Account: account,
					Region:  tokyo,
				}] = distribution.DestinationFacts{Identity: distribution.CallerIdentity{Account: account}}
			}
			ask(&req, grants)
			refused := false
			for _, f := range plan.Assess(req, facts).Decide().Findings {
				refused = refused || f.Level == distribution.Refused && f.Field == wanted
			}
			if refused != (grants[1].Name == "") {
				t.Errorf("%s: refused %v: %+v", wanted, refused, plan.Assess(req, facts).Decide().Findings)
			}
		}
	}
}
