// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// permissionRules explain missing permissions (section 6). No statement of ours can lift an explicit deny.
var permissionRules = []rule{
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "service control policy"},
		summary:         "an organization forbids {action}",
		detail:          "a service control policy that bears on account {whose} denies it explicitly",
		remediation: explicitDenyNote +
			"ask who keeps the organization's service control policies to leave {who} out of the deny",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "resource control policy"},
		summary:         "an organization forbids {action}",
		detail:          "a resource control policy that bears on the account of {on} denies it explicitly",
		remediation: explicitDenyNote +
			"ask who keeps the organization's resource control policies to leave {who} out of the deny",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "permissions boundary"},
		summary:         "a permissions boundary forbids {action}",
		detail:          "the permissions boundary of {who} denies it explicitly",
		remediation:     explicitDenyNote + "ask who set the boundary to take the deny out of it, or use a role without it",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "session policy"},
		summary:         "the session's own policy forbids {action}",
		detail:          "a policy that the session was made with denies it explicitly",
		remediation: explicitDenyNote +
			"take the deny out of policy or policy_arns of assume_role, or out of what made the source credentials",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "identity-based policy"},
		summary:         "{who} is forbidden {action}",
		detail:          "an identity policy of its own denies it explicitly",
		remediation:     explicitDenyNote + "take the deny out of that policy, or use another role",
	},
	{
		references:      "6.2 A.4.11 5.6",
		operations:      assumeRoleOperations,
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "role trust policy"},
		summary:         "the role forbids to assume it",
		detail:          "the trust policy of {on} denies it explicitly",
		remediation:     explicitDenyNote + "take the deny out of the trust policy, or leave {who} out of it",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "VPC endpoint policy"},
		summary:         "the network forbids {action}",
		detail:          "the policy of the VPC endpoint that the call went through denies it explicitly",
		remediation: explicitDenyNote +
			"take the deny out of the endpoint's policy, or run where the endpoint is not in the way",
	},
	{
		references:      "6.2 A.4.11 3.2.1",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny", "resource-based policy"},
		summary:         "the policy of {on} forbids {action}",
		detail:          "it denies it explicitly: a key policy, where it is a key",
		remediation:     explicitDenyNote + "ask who keeps that policy to leave {who} out of the deny",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"explicit deny"},
		summary:         "{who} is forbidden {action}",
		detail:          "some policy denies it explicitly; AWS does not say which",
		remediation: explicitDenyNote +
			"look for a deny in service control, resource control, boundary, session, identity and resource policies",
	},
	{
		references:      "3.2.1 3.4.3 1.7.6",
		operations:      "kms:*",
		codes:           accessDeniedCodes,
		messageContains: []string{"no resource-based policies allow access"},
		aboutKey:        true,
		summary:         "KMS does not let {who} use {key}",
		detail: "one of these is so, and KMS does not tell another account which: the key does not exist in " +
			"{region}; its key policy does not admit the caller; its key policy denies it explicitly",
		remediation: "where the key does not exist or its policy denies, no statement helps: check the ARN, and ask " +
			"who keeps the key",
		statements: allowInResourcePolicy,
	},
	{
		references:      "6.2 A.4.11 6.5 2.5.5 7.6 3.2.1",
		codes:           accessDeniedCodes,
		messageContains: []string{"no identity-based policy allows"},
		summary:         "{who} may not {action}",
		detail:          "none of its identity policies allows it on {on}",
		statements:      allowInIdentityPolicy,
	},
	{
		references:      "6.2 A.4.11 5.5",
		codes:           accessDeniedCodes,
		messageContains: []string{"no session policy allows"},
		summary:         "the session may not {action}",
		detail: "the policy that the session was made with does not allow it on {on}; what both the role and that " +
			"policy allow is allowed",
		statements: allowInSessionPolicy,
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"no permissions boundary allows"},
		summary:         "{who} may not {action}",
		detail: "its permissions boundary does not allow it on {on}; what both its policies and the boundary " +
			"allow is allowed",
		remediation: "ask who set the boundary",
		statements:  allowInBoundary,
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"no service control policy allows"},
		summary:         "account {whose} may not {action}",
		detail: "its organization allows by list, and at some level from the root down to the account no service " +
			"control policy lists it",
		remediation: "ask who keeps the organization's service control policies to list {action} at each of these " +
			"levels",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"no resource control policy allows"},
		summary:         "{on} cannot be reached with {action}",
		detail:          "the organization of its account has a level with no resource control policy that allows it",
		remediation:     "ask who keeps the organization's resource control policies to attach RCPFullAWSAccess again",
	},
	{
		references:      "6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"no VPC endpoint policy allows"},
		summary:         "the network does not let {action} through",
		detail:          "the policy of the VPC endpoint that the call went through does not allow it",
		remediation:     "ask who keeps the endpoint to allow {action} in its policy",
	},
	{
		references:      "5.6 5.5",
		operations:      assumeRoleOperations,
		codes:           "AccessDenied",
		messageContains: []string{"perform: sts:TagSession on"},
		summary:         "{who} cannot pass session tags to the role",
		detail:          "with tags in assume_role, {on} must allow sts:TagSession beside sts:AssumeRole",
		remediation: "add sts:TagSession to the statement that allows sts:AssumeRole, in the trust policy of the role " +
			"and in the policy of {who}, or remove tags from assume_role",
	},
	{
		references:      "5.6 5.5",
		operations:      assumeRoleOperations,
		codes:           "AccessDenied",
		messageContains: []string{"perform: sts:SetSourceIdentity on"},
		summary:         "{who} cannot pass a source identity to the role",
		detail:          "with source_identity in assume_role, {on} must allow sts:SetSourceIdentity beside sts:AssumeRole",
		remediation: "add sts:SetSourceIdentity to the statement that allows sts:AssumeRole, in the trust policy of the " +
			"role and in the policy of {who}, or remove source_identity from assume_role",
	},
	{
		references:      "5.6 6.2 A.4.11",
		operations:      assumeRoleOperations,
		codes:           accessDeniedCodes,
		messageContains: []string{"no role trust policy allows"},
		summary:         "external_id {external_id}, or the role does not trust {who}",
		detail: "no statement of the trust policy of {on} allows {action} to {who} with the external id of this " +
			"call and without MFA; AWS does not say which of them is wrong",
		remediation: trustRemediation,
	},
	{
		references:      "3.2.1 6.2 A.4.11",
		codes:           accessDeniedCodes,
		messageContains: []string{"no resource-based policy allows"},
		summary:         "the policy of {on} does not admit {who} to {action}",
		detail:          "none of its statements allows it",
		statements:      allowInResourcePolicy,
	},
	{
		references: "5.6",
		operations: assumeRoleOperations,
		codes:      "AccessDenied",
		summary:    "external_id {external_id}, or the role does not trust {who}",
		detail: "{who} of account {whose} was denied {action} on {on}; AWS answers alike if the role does not exist, " +
			"if its trust policy does not allow {who} or asks for another external id or MFA, and if the policies of {who} " +
			"do not allow it",
		remediation: trustRemediation + ", and check the name and account of the role",
	},
}
