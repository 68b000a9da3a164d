// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Share names who may launch the image as it is, in every Region of the artifact, under the source account's key: the launch
// permission of the image is given to all of them, and the use of its snapshots to the accounts. Nothing of it is ever taken
// back. What cannot be shared, because it is under `aws/ebs` or not under `kms_key_id`, is copied within the source account first, and
// that copy stays. Who launches needs the right to use the key; the plan prints the statements. The block may be repeated, and
// `dynamic "share"` works. Without a `target` nobody gets a copy, and the artifact is the shared image.
type Share struct {
	// A name for messages and reports. Default: `share[0]`, `share[1]`, ...
	Name string `mapstructure:"name"`
	// Accounts, 12 digits each, as strings. They may copy the image as well.
	AccountIDs []string `mapstructure:"account_ids"`
	// ARNs of organizations, such as `arn:aws:organizations::123456789012:organization/o-1234567890`. AWS lets no organization use snapshots, so
	// their accounts can launch the image and not copy it.
	OrganizationARNs []string `mapstructure:"organization_arns"`
	// ARNs of organizational units, such as `arn:aws:organizations::123456789012:ou/o-1234567890/ou-ab12-34567890`. As with
	// organizations, their accounts can launch the image and not copy it.
	OrganizationalUnitARNs []string `mapstructure:"organizational_unit_arns"`
	// Who may use the key of the shared image in each of `account_ids`, such as the service-linked role of Auto Scaling, which launches under another account's key
	// by a grant only. The account itself makes the grant, on the source account's key, whose policy has to admit it with `kms:CreateGrant` and without the condition
	// `kms:GrantIsForAWSResource`. It stays. The block may be repeated. See [kms_grant](#kms_grant).
	KMSGrants []KMSGrant `mapstructure:"kms_grant"`
	// A role in each of `account_ids` that creates the grants. See [assume_role](#assume_role). One of `assume_role` and `profile`, and neither without `kms_grant`.
	AssumeRole []AssumeRole `mapstructure:"assume_role"`
	// The profile of the shared configuration and credentials files whose credentials create the grants.
	Profile string `mapstructure:"profile"`
}

// label returns the name of the block in messages: its own, or its index.
func (s *Share) label(i int) string {
	return named("share", s.Name, index("share", i))
}

func (s *Share) share(i int) distribution.Share {
	share := distribution.Share{
		Name:                s.Name,
		AccountIDs:          slices.Sorted(slices.Values(s.AccountIDs)),
		OrganizationARNs:    slices.Sorted(slices.Values(s.OrganizationARNs)),
		OrganizationalUnits: slices.Sorted(slices.Values(s.OrganizationalUnitARNs)),
	}
	if s.Name == "" {
		share.Name = index("share", i)
	}
	for _, grant := range s.KMSGrants {
		share.Grants = append(share.Grants, grant.grant())
	}
	share.Roles, share.Profile = rolesOf(s.AssumeRole), s.Profile
	return share
}

// isEmpty reports whether the block names no account, organization or unit.
func (s *Share) isEmpty() bool {
	return len(s.AccountIDs)+len(s.OrganizationARNs)+len(s.OrganizationalUnitARNs) == 0
}

// check judges a share block. chained: its roles are assumed with the session of a role.
func (s *Share) check(p *diagnostics, chained bool) {
	for i, account := range s.AccountIDs {
		p.account(index("account_ids", i), account)
	}
	p.twice("account_ids", s.AccountIDs)
	p.organizations("organization_arns", s.OrganizationARNs, awslimits.OrganizationARN)
	p.organizations("organizational_unit_arns", s.OrganizationalUnitARNs, awslimits.OrganizationalUnitARN)
	p.launchPermissions("account_ids", s.AccountIDs, s.OrganizationARNs, s.OrganizationalUnitARNs)
	for i := range s.KMSGrants {
		s.KMSGrants[i].check(p.in(index("kms_grant", i)))
	}
	for _, option := range []struct {
		name  string
		given bool
	}{{"assume_role", len(s.AssumeRole) > 0}, {"profile", s.Profile != ""}} {
		if option.given && len(s.KMSGrants) == 0 {
			p.add(option.name, "no effect without kms_grant")
		}
	}
	by := Target{AccountIDs: s.AccountIDs, AssumeRole: s.AssumeRole, Profile: s.Profile}
	by.checkCredentials(p, chained)
}

// organizations judges ARNs of organizations or of their units.
func (p *diagnostics) organizations(field string, arns []string, subject awslimits.Subject) {
	for i, arn := range arns {
		if p.limit(index(field, i), subject, arn) && literal(arn) {
			p.partition(index(field, i), awslimits.Match(subject, arn)[1])
		}
	}
	p.twice(field, arns)
}

// twice judges that a list names nothing more than once.
func (p *diagnostics) twice(field string, values []string) {
	for i, value := range values {
		if literal(value) && slices.Contains(values[:i], value) {
			p.add(index(field, i), "%q is named twice", value)
		}
	}
}
