// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"reflect"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// shared returns the policies of the accounts of share blocks by file name. The plan prints them as statements to add.
func (s Setup) shared() map[string]Document {
	key, launches, grants := document(), document(), document()
	requests, facts := everyOption(s)
	var findings []distribution.Finding
	for _, req := range requests {
		findings = append(findings, plan.Assess(req, facts).Decide().Findings...)
	}
	for _, f := range findings {
		if f.Reference != "3.1.6" {
			continue
		}
		for _, a := range f.PolicyStatements {
			switch {
			case a.Statement.Principal != nil:
				key.Statement = merged(key.Statement, a.Statement)
			case strings.HasPrefix(a.Policy, "identity policy of who launches"):
				launches.Statement = merged(launches.Statement, a.Statement)
			default:
				grants.Statement = merged(grants.Statement, s.ofEveryUser(a.Statement))
			}
		}
	}
	if len(grants.Statement) > 0 { // discover reads the Allowed AMIs setting of an account with a role
		grants.Statement = append(grants.Statement, distribution.Statement{
			Sid: "ReadAllowedImages", Effect: "Allow", Action: []string{"ec2:GetAllowedImagesSettings"}, Resource: []string{"*"},
		})
	}
	return map[string]Document{"share-key.json": key, "share-launch-role.json": launches, "share-role.json": grants}
}

// ofEveryUser returns a statement about principals of one account for a policy that all accounts get.
func (s Setup) ofEveryUser(of distribution.Statement) distribution.Statement {
	when := distribution.Condition{}
	for operator, keys := range of.Condition {
		when[operator] = map[string][]string{}
		for key, values := range keys {
			for _, value := range values {
				for _, user := range s.Users {
					value = strings.ReplaceAll(value, "::"+user+":", "::${aws:PrincipalAccount}:")
				}
				when[operator][key] = append(when[operator][key], value)
			}
		}
	}
	of.Condition = when
	return of
}

// merged adds a statement to others. If they differ only in their resources, it adds the resources.
func merged(all []distribution.Statement, more distribution.Statement) []distribution.Statement {
	for i, s := range all {
		resources := distinct(slices.Concat(s.Resource, more.Resource))
		s.Resource = more.Resource
		if reflect.DeepEqual(s, more) {
			all[i].Resource = resources
			return all
		}
	}
	return append(all, more)
}
