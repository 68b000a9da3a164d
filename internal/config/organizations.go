// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Organizations says whose credentials list the accounts of `organizational_unit_ids`. Only an organization's management account and
// its delegated administrators may do that (`organizations:ListAccountsForParent`, `organizations:ListOrganizationalUnitsForParent`).
type Organizations struct {
	// A role to assume with the source credentials, in the management account or a delegated administrator's. See [assume_role](#assume_role). Default:
	// the source credentials themselves.
	AssumeRole *AssumeRole `mapstructure:"assume_role"`
}

// roles are those that lead to the organization; nil: none.
func (o *Organizations) roles() []distribution.Role {
	if o == nil || o.AssumeRole == nil {
		return nil
	}
	return []distribution.Role{o.AssumeRole.role()}
}

func (o *Organizations) check(p *diagnostics) {
	if o == nil {
		return
	}
	if o.AssumeRole == nil {
		p.add("organizations", "no effect without assume_role")
		return
	}
	o.AssumeRole.check(p.in("organizations").in("assume_role"), false)
}
