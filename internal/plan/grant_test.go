// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Of roles that differ by their path alone the names that grants get by default are equal.
func TestGrantsOfOneNameAreRefused(t *testing.T) {
	deployers := []plan.Grant{{Grantee: "arn:aws:iam::{{ .AccountId }}:role/a/deployer"}, {Grantee: "arn:aws:iam::{{ .AccountId }}:role/b/deployer"}}
	named := []plan.Grant{deployers[0], {Grantee: deployers[1].Grantee, Name: "another"}}
	for wanted, ask := range map[string]func(req *plan.Request, grants []plan.Grant){
		`target "prod": grant: name`: func(req *plan.Request, grants []plan.Grant) { req.Targets[0].Grants = grants },
		`share "fleet": grant: name`: func(req *plan.Request, grants []plan.Grant) {
			req.Shares = []plan.Share{{Name: "fleet", AccountIDs: others[:1], Roles: []plan.Role{{RoleName: "granter"}}, Grants: grants}}
		},
	} {
		for _, grants := range [][]plan.Grant{deployers, named} {
			req, facts := world()
			for _, account := range others {
				facts.Sites[plan.Location{Account: account, Region: tokyo}] = plan.DestinationFacts{Identity: plan.CallerIdentity{Account: account}}
			}
			ask(&req, grants)
			refused := false
			for _, f := range plan.Decide(req, facts).Findings {
				refused = refused || f.Level == plan.Refused && f.Field == wanted
			}
			if refused != (grants[1].Name == "") {
				t.Errorf("%s: refused %v: %+v", wanted, refused, plan.Decide(req, facts).Findings)
			}
		}
	}
}
