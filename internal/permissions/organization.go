// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// resourceInOrganization returns the condition that a resource belongs to an account of the organization, and of one of
// its units if the setup names some. Nil without an organization.
func (s Setup) resourceInOrganization() distribution.Condition {
	if s.Organization == "" {
		return nil
	}
	return s.inOrganization("aws:ResourceOrgID", "aws:ResourceOrgPaths")
}

// principalInOrganization returns the condition that the caller's account belongs to the organization, and to one of
// its units if the setup names some. Nil without an organization.
func (s Setup) principalInOrganization() distribution.Condition {
	return s.inOrganization("aws:PrincipalOrgID", "aws:PrincipalOrgPaths")
}

func (s Setup) inOrganization(id, paths string) distribution.Condition {
	when := distribution.Condition{"StringEquals": {id: {s.Organization}}}
	if len(s.Paths) > 0 {
		when["ForAnyValue:StringLike"] = map[string][]string{paths: s.Paths}
	}
	return when
}

// sharedInOrganization returns the condition for sharing without a list of accounts. IAM has no condition key for the
// organization of the accounts that a call shares with. The condition only prevents public sharing. The key policy
// prevents other accounts from reading encrypted data.
func sharedInOrganization() distribution.Condition {
	return distribution.Condition{"Null": {"ec2:Add/userId": {"false"}, "ec2:Add/group": {"true"}}}
}

// inAnyAccount returns the grantee of a temporary grant for the policy of the build role: the target role of any
// account if the policies allow an organization. IAM has no condition key for the organization of a grantee.
func (h *holder) inAnyAccount(grantee string, grant distribution.KeyGrantResult) string {
	if h.Organization == "" {
		return grantee
	}
	for _, account := range h.Targets {
		if grant.Grantee == h.roleARN(account, h.TargetRole) {
			return strings.Replace(grantee, "::"+account+":", "::*:", 1)
		}
	}
	return grantee
}
