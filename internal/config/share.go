// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Share holds the options of a block `share`.
type Share struct {
	// The name in messages and reports. Default: `share[0]`, `share[1]`, ...
	Name string `mapstructure:"name"`
	// Account IDs, as strings of 12 digits. They may also copy the AMI.
	AccountIDs []string `mapstructure:"account_ids"`
	// ARNs of organizations, such as `arn:aws:organizations::123456789012:organization/o-1234567890`. Their accounts
	// can launch the AMI and cannot copy it, because AWS shares no snapshots with organizations.
	OrganizationARNs []string `mapstructure:"organization_arns"`
	// ARNs of organizational units, such as `arn:aws:organizations::123456789012:ou/o-1234567890/ou-ab12-34567890`.
	// Their accounts can launch the AMI and cannot copy it.
	OrganizationalUnitARNs []string `mapstructure:"organizational_unit_arns"`
	// Permanent grants on the key of the shared AMI, created by each of `account_ids`, for example for Auto Scaling.
	// The key policy must allow the account `kms:CreateGrant` without the condition `kms:GrantIsForAWSResource`. See
	// [kms_grant](#kms_grant).
	KMSGrants []KMSGrant `mapstructure:"kms_grant"`
	// An SSM parameter in the source account that gets the ID of the shared AMI, in each Region of the artifact. To let
	// other accounts read it, set `tier = "Advanced"` and share the parameter with AWS Resource Access Manager. See
	// [ssm_parameter](#ssm_parameter).
	SSMParameters []SSMParameter `mapstructure:"ssm_parameter"`
	// A role in each of `account_ids` that creates the grants. See [assume_role](#assume_role). `kms_grant` requires
	// one of `assume_role` and `profile`.
	AssumeRole []AssumeRole `mapstructure:"assume_role"`
	// A profile whose credentials create the grants.
	Profile string `mapstructure:"profile"`
}

// label returns the name of the block in messages: its name option, or its index.
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
	for _, parameter := range s.SSMParameters {
		share.Parameters = append(share.Parameters, parameter.parameter())
	}
	share.Roles, share.Profile = rolesOf(s.AssumeRole), s.Profile
	return share
}

// isEmpty reports whether the block names no account, organization or unit.
func (s *Share) isEmpty() bool {
	return len(s.AccountIDs)+len(s.OrganizationARNs)+len(s.OrganizationalUnitARNs) == 0
}

// check checks a share block. chained is true if its roles are assumed with the session of a role, isHeld if nothing is
// published.
func (s *Share) check(p *diagnostics, chained, isHeld bool) {
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
	p.parameters(s.SSMParameters)
	if isHeld && len(s.SSMParameters) > 0 {
		p.add("ssm_parameter", "no effect with publish = %q; mode = %q changes only what targets publish",
			publishHold, ModePromote)
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

// organizations checks ARNs of organizations or of organizational units.
func (p *diagnostics) organizations(field string, arns []string, subject awslimits.Subject) {
	for i, arn := range arns {
		if p.limit(index(field, i), subject, arn) && literal(arn) {
			p.partition(index(field, i), awslimits.Match(subject, arn)[1])
		}
	}
	p.twice(field, arns)
}

// twice reports values that a list contains more than once.
func (p *diagnostics) twice(field string, values []string) {
	for i, value := range values {
		if literal(value) && slices.Contains(values[:i], value) {
			p.add(index(field, i), "%q is named twice", value)
		}
	}
}
