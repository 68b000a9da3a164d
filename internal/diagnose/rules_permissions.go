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
		references:      "5.6 6.2 A.4.11",
		operations:      assumeRoleOperations,
		codes:           accessDeniedCodes,
		messageContains: []string{"no role trust policy allows"},
		summary:         "the role does not let {who} assume it",
		detail: "its trust policy has no statement that admits {who} to {action}, under the external id, tags and " +
			"MFA that the call came with",
		remediation: "compare external_id with the condition on sts:ExternalId in that policy, and keep the condition",
		statements:  allowInResourcePolicy,
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
		summary:    "the role cannot be assumed",
		detail: "{who} of account {whose} was refused {action} on {on}, and AWS answers alike where there is no " +
			"such role; where its trust policy does not admit the caller, or asks for another external id or for MFA, which a " +
			"run cannot give; where tags are given and that policy does not allow sts:TagSession, or source_identity and it " +
			"does not allow sts:SetSourceIdentity; and where the caller's own policies do not allow it",
		remediation: "check role name and account; with external_id, keep the condition on sts:ExternalId; with tags " +
			"or source_identity, allow sts:TagSession or sts:SetSourceIdentity in the same way",
		statements: allowAssumeRole,
	},
}
