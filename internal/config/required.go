// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
)

// checkRequired checks that there is a target or share, and that each names its accounts and its credentials.
//
// Packer passes an unknown list as an empty list, and a missing list as nil. Only the latter is refused here. For
// blocks, Packer does not distinguish missing ones from dynamic blocks over an unknown list, so both are refused.
func (c *Config) checkRequired(p *diagnostics) {
	noJSON := c.TargetsJSON == "" || strings.TrimSpace(c.TargetsJSON) == "[]"
	if len(c.Targets)+len(c.Shares) == 0 && noJSON {
		p.add("target", "missing, and share as well: no account gets the AMI. If dynamic blocks read a data source, "+
			"validate with -evaluate-datasources, or give targets_json")
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		if t.AccountIDs == nil && t.OrganizationalUnitIDs == nil {
			p.in(t.label()).add("account_ids", "missing, and organizational_unit_ids as well")
		}
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		if s.AccountIDs == nil && s.OrganizationARNs == nil && s.OrganizationalUnitARNs == nil {
			p.in(s.label(i)).add("account_ids", "missing, and organization_arns and organizational_unit_arns as well")
		}
	}
	c.checkCredentials(p)
}

const roleExample = `Example: assume_role { role_name = "golden-image-target" }`

// checkCredentials checks that every account has credentials. The source account needs no credentials of its own, so at
// most one account may have none.
func (c *Config) checkCredentials(p *diagnostics) {
	var source string // the account that the source credentials belong to, if the template shows it
	if c.AssumeRole != nil {
		if arn := awslimits.Match(awslimits.RoleARN, c.AssumeRole.RoleARN); arn != nil {
			source = arn[2]
		}
	}
	require := func(in *diagnostics, accounts []string) {
		for _, account := range accounts {
			if awslimits.Check(awslimits.AccountID, account) != nil {
				continue // unknown, or refused already
			}
			if source == "" {
				source = account
			}
			if account != source {
				in.add(
					"assume_role",
					"missing for account %s, and profile as well; one of them is required, except for the source account. "+
						roleExample,
					account,
				)
				return
			}
		}
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		switch in := p.in(t.label()); {
		case len(t.AssumeRole) > 0 || t.Profile != "":
		case slices.ContainsFunc(t.OrganizationalUnitIDs, literal):
			in.add(
				"assume_role",
				"missing, and profile as well; one of them is required with organizational_unit_ids. "+roleExample,
			)
		default:
			require(in, t.AccountIDs)
		}
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		if len(s.KMSGrants) > 0 && len(s.AssumeRole) == 0 && s.Profile == "" {
			require(p.in(s.label(i)), s.AccountIDs)
		}
	}
}
