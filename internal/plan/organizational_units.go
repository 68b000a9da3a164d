// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// targetAccounts returns the accounts of a target: its account_ids, and those of its organizational units. It
// excludes the source account and inactive accounts of units.
func targetAccounts(t distribution.Target, facts distribution.Facts) ([]string, []distribution.Finding) {
	accounts := slices.Clone(t.AccountIDs)
	var findings []distribution.Finding
	for _, id := range t.Units {
		unit := facts.Units[id]
		if unit.Err != nil {
			findings = append(findings, distribution.Finding{
				Level:     distribution.Refused,
				Code:      distribution.CodeOrganizationalUnitDenied,
				Field:     field(t.Name, "organizational_unit_ids"),
				Resource:  id,
				Principal: facts.Source.ARN,
				Operation: unit.Err.Operation,
				Summary:   "the accounts of " + id + " cannot be listed",
				Detail:    unit.Err.Error(),
				Remediation: "only the management account of an organization and its delegated administrators may look at " +
					"it: set organizations_role to a role there",
			})
			continue
		}

		var inactive, active []string
		for _, member := range unit.Accounts {
			switch {
			case member.ID == facts.Source.Account || slices.Contains(t.ExcludedIDs, member.ID):
			case member.Active:
				active = append(active, member.ID)
			default:
				inactive = append(inactive, member.ID)
			}
		}

		if len(inactive) > 0 {
			findings = append(findings, distribution.Finding{
				Level:    distribution.Note,
				Code:     distribution.CodeAccountsInactive,
				Field:    field(t.Name, "organizational_unit_ids"),
				Resource: id,
				Summary:  "accounts are skipped: " + strings.Join(inactive, ", "),
				Detail:   "they are suspended, or are about to be closed",
			})
		}

		if len(active) == 0 {
			findings = append(findings, distribution.Finding{
				Level:    distribution.Warning,
				Code:     distribution.CodeOrganizationalUnitEmpty,
				Field:    field(t.Name, "organizational_unit_ids"),
				Resource: id,
				Summary:  id + " has no active account",
				Detail:   fmt.Sprintf("it has %d accounts, and all are skipped", len(unit.Accounts)),
			})
		}

		accounts = append(accounts, active...)
	}

	slices.Sort(accounts)
	return slices.Compact(accounts), findings
}

// skipsMissingRole reports whether a destination is excluded because its role is missing or cannot be assumed (5.6).
func skipsMissingRole(d distribution.Destination, facts distribution.Facts) bool {
	err := facts.Sites[d.At].Err
	return d.SkipMissingRole && err != nil && err.Operation == "sts:AssumeRole" && err.Code == "AccessDenied"
}
