// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// permissionRules explain missing permissions (section 6). An additional statement cannot override an explicit deny.
var permissionRules = []rule{
	{
		code:            "scp_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "service control policy"},
		summary:         "a service control policy denies {action}",
		detail:          "A service control policy of the organization denies it explicitly for account {whose}.",
		remediation: explicitDenyNote +
			"Ask the administrator of the organization to exclude {who} from the deny.",
	},
	{
		code:            "rcp_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "resource control policy"},
		summary:         "a resource control policy denies {action}",
		detail:          "A resource control policy of the organization denies it explicitly for {on}.",
		remediation: explicitDenyNote +
			"Ask the administrator of the organization to exclude {who} from the deny.",
	},
	{
		code:            "permissions_boundary_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "permissions boundary"},
		summary:         "a permissions boundary denies {action}",
		detail:          "The permissions boundary of {who} denies it explicitly.",
		remediation: explicitDenyNote +
			"Ask the owner of the boundary to remove the deny, or use another role.",
	},
	{
		code:            "session_policy_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "session policy"},
		summary:         "the session policy denies {action}",
		detail:          "The policy that the session was created with denies it explicitly.",
		remediation: explicitDenyNote +
			"Remove the deny from policy or policy_arns of assume_role, or from the session policy of the source credentials.",
	},
	{
		code:            "identity_policy_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "identity-based policy"},
		summary:         "{who} is denied {action}",
		detail:          "An identity policy of {who} denies it explicitly.",
		remediation: explicitDenyNote +
			"Remove the deny from the identity policies of {who}, or use another role.",
	},
	{
		code:            "trust_policy_deny",
		references:      "6.2 A.4.11 5.6",
		operations:      assumeRoleOperations,
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "role trust policy"},
		summary:         "the trust policy denies {action}",
		detail:          "The trust policy of {on} denies it explicitly.",
		remediation: explicitDenyNote +
			"Ask the owner of the role to exclude {who} from the deny.",
	},
	{
		code:            "vpc_endpoint_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "VPC endpoint policy"},
		summary:         "a VPC endpoint policy denies {action}",
		detail:          "The policy of the VPC endpoint that the call used denies it explicitly.",
		remediation: explicitDenyNote +
			"Remove the deny from the endpoint policy, or run without the endpoint.",
	},
	{
		code:            "resource_policy_deny",
		references:      "6.2 A.4.11 3.2.1",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny", "resource-based policy"},
		summary:         "the policy of {on} denies {action}",
		detail:          "The resource policy denies it explicitly. For a key, that is the key policy.",
		remediation: explicitDenyNote +
			"Ask the owner of the policy to exclude {who} from the deny.",
	},
	{
		code:            "explicit_deny",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"explicit deny"},
		summary:         "{who} is denied {action}",
		detail:          "A policy denies it explicitly. AWS does not say which one.",
		remediation: explicitDenyNote +
			"Look for a deny in service control, resource control, session, identity and resource policies, and in " +
			"permissions boundaries.",
	},
	{
		code:            "kms_access_denied",
		references:      "3.2.1 3.4.3 1.7.6",
		operations:      "kms:*",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no resource-based policies allow access"},
		aboutKey:        true,
		summary:         "{who} may not use {key}",
		detail: "KMS does not report the cause to another account: the key does not exist in {region}, its key policy " +
			"does not allow the caller, or it denies the caller explicitly.",
		remediation: "If the key does not exist or its policy denies the caller, no statement helps: check the ARN " +
			"and ask the owner of the key.",
		statements: allowInResourcePolicy,
	},
	{
		code:            "access_denied",
		references:      "6.2 A.4.11 6.5 2.5.5 7.6 3.2.1",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no identity-based policy allows"},
		summary:         "{who} may not {action}",
		detail:          "No identity policy of {who} allows it on {on}.",
		statements:      allowInIdentityPolicy,
	},
	{
		code:            "session_policy_missing",
		references:      "6.2 A.4.11 5.5",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no session policy allows"},
		summary:         "the session may not {action}",
		detail: "The session policy does not allow it on {on}. A session can do what both its role and its " +
			"session policy allow.",
		statements: allowInSessionPolicy,
	},
	{
		code:            "permissions_boundary_missing",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no permissions boundary allows"},
		summary:         "{who} may not {action}",
		detail: "The permissions boundary does not allow it on {on}. A role can do what both its policies and " +
			"its boundary allow.",
		remediation: "If you cannot change the boundary, ask its owner.",
		statements:  allowInBoundary,
	},
	{
		code:            "scp_missing",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no service control policy allows"},
		summary:         "account {whose} may not {action}",
		detail: "At some level between the root of the organization and the account, no service control policy " +
			"allows it.",
		remediation: "Ask the administrator of the organization to allow {action} at each level.",
	},
	{
		code:            "rcp_missing",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no resource control policy allows"},
		summary:         "no resource control policy allows {action}",
		detail: "At some level between the root of the organization and the account of {on}, no resource " +
			"control policy allows it.",
		remediation: "Ask the administrator of the organization to attach RCPFullAWSAccess again.",
	},
	{
		code:            "vpc_endpoint_missing",
		references:      "6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no VPC endpoint policy allows"},
		summary:         "a VPC endpoint policy does not allow {action}",
		detail:          "The call used a VPC endpoint whose policy does not allow it.",
		remediation:     "Ask the owner of the endpoint to allow {action} in its policy.",
	},
	{
		code:            "tag_session_denied",
		references:      "5.6 5.5",
		operations:      assumeRoleOperations,
		awsCodes:        "AccessDenied",
		messageContains: []string{"perform: sts:TagSession on"},
		summary:         "{who} may not pass session tags to the role",
		detail: "With tags in assume_role, the trust policy of {on} must allow sts:TagSession in addition to " +
			"sts:AssumeRole.",
		remediation: "Add sts:TagSession to the statement that allows sts:AssumeRole, in the trust policy of the role " +
			"and in the policy of {who}, or remove tags from assume_role.",
	},
	{
		code:            "set_source_identity_denied",
		references:      "5.6 5.5",
		operations:      assumeRoleOperations,
		awsCodes:        "AccessDenied",
		messageContains: []string{"perform: sts:SetSourceIdentity on"},
		summary:         "{who} may not pass a source identity to the role",
		detail: "With source_identity in assume_role, the trust policy of {on} must allow sts:SetSourceIdentity in " +
			"addition to " +
			"sts:AssumeRole.",
		remediation: "Add sts:SetSourceIdentity to the statement that allows sts:AssumeRole, in the trust policy of " +
			"the role and in the policy of {who}, or remove source_identity from assume_role.",
	},
	{
		code:            "assume_role_denied",
		references:      "5.6 6.2 A.4.11",
		operations:      assumeRoleOperations,
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no role trust policy allows"},
		summary:         "external_id {external_id}, or the role does not trust {who}",
		detail: "No statement of the trust policy of {on} allows {action} to {who} {with_external_id} and " +
			"without MFA. AWS does not say whether the principal, the external ID or MFA is the cause.",
		remediation:      trustRemediation,
		externalIDWorked: &untrusted,
	},
	{
		code:            "resource_policy_missing",
		references:      "3.2.1 6.2 A.4.11",
		awsCodes:        accessDeniedCodes,
		messageContains: []string{"no resource-based policy allows"},
		summary:         "the policy of {on} does not allow {who} to {action}",
		detail:          "No statement of the policy allows the call.",
		statements:      allowInResourcePolicy,
	},
	{
		code:       "assume_role_denied",
		references: "5.6",
		operations: assumeRoleOperations,
		awsCodes:   "AccessDenied",
		summary:    "external_id {external_id}, or the role does not exist or does not trust {who}",
		detail: "AWS denied {action} on {on} to {who} of account {whose}. AWS returns the same error if the role does " +
			"not exist. Other causes: its trust policy does not allow {who}, or requires another external ID or MFA, or the " +
			"policies of {who} do not allow the call.",
		remediation: trustRemediation +
			" Check the name and account of the role.",
		externalIDWorked: &missingOrUntrusted,
	},
}

// untrusted explains a role that exists and that cannot be assumed, although its external id worked elsewhere.
var untrusted = rule{
	code:       "assume_role_denied",
	references: "5.6 6.2 A.4.11",
	summary:    "the role does not trust {who}",
	detail: "No statement of the trust policy of {on} allows {action} to {who} with this external ID and without MFA. " +
		"The same external ID worked in account {worked_in}.",
	remediation: trustComparison,
}

// missingOrUntrusted explains a role that cannot be assumed, although the same external ID worked in another account.
var missingOrUntrusted = rule{
	code:       "assume_role_denied",
	references: "5.6",
	summary:    "the role does not exist or does not trust {who}",
	detail: "AWS denied {action} on {on} to {who} of account {whose}. AWS returns the same error if the role does not " +
		"exist. Other causes: its trust policy does not allow {who} or requires MFA, or the policies of {who} do not " +
		"allow the call. " +
		"The same external ID worked in account {worked_in}.",
	remediation: "Check the name and account of the role. " + trustComparison,
}
