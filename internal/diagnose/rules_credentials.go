// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// Texts of the rules for the time of a signature (5.11).
const (
	signatureCodes = "SignatureDoesNotMatch InvalidSignatureException"
	clockSummary   = "the clock of this machine is wrong"
	clockDetail    = "AWS rejects a signature whose time is off by more than 15 minutes. Some services accept at " +
		"most 5 minutes."
	clockRemediation = "Synchronize the clock of this machine, then resume the run."
)

// credentialRules explain errors of credentials and sessions, for every operation (section 5).
var credentialRules = []rule{
	{
		code:       "credentials_expired",
		references: "5.4 5.3 5.11",
		operations: "ec2:*",
		awsCodes:   "RequestExpired",
		summary:    "the credentials have expired, or the clock is wrong",
		detail: "EC2 returns the same error if the session has ended and if the clock of this machine is off by " +
			"more than 15 minutes.",
		remediation: "Renew the credentials or correct the clock, then resume the run.",
	},
	{
		code:            "clock_skew",
		references:      "5.11",
		awsCodes:        signatureCodes,
		messageContains: []string{"Signature expired"},
		summary:         clockSummary,
		detail:          clockDetail,
		remediation:     clockRemediation,
	},
	{
		code:            "clock_skew",
		references:      "5.11",
		awsCodes:        signatureCodes,
		messageContains: []string{"Signature not yet current"},
		summary:         clockSummary,
		detail:          clockDetail,
		remediation:     clockRemediation,
	},
	{
		code:        "secret_key_wrong",
		references:  "5.11",
		awsCodes:    signatureCodes,
		summary:     "the secret access key is wrong",
		detail:      "The signature does not match the access key, or a proxy changed the request.",
		remediation: "Check the secret access key.",
	},
	{
		code:        "credentials_expired",
		references:  "5.4 5.3",
		awsCodes:    "RequestExpired ExpiredToken ExpiredTokenException",
		summary:     "the credentials have expired",
		detail:      "The session ended, and its source returned no new credentials.",
		remediation: "Renew the credentials that the run started with, then resume the run.",
	},
	{
		code:        "sts_region_disabled",
		references:  "5.8",
		operations:  "sts:*",
		awsCodes:    "RegionDisabledException",
		summary:     "STS is not enabled in {region}",
		detail:      "The Region or its STS endpoint is disabled in account {account}.",
		remediation: "Enable the Region in account {account}, or remove it from regions.",
	},
	{
		code:        "region_not_enabled",
		references:  "5.8",
		awsCodes:    "OptInRequired",
		summary:     "account {account} has not enabled {region}",
		detail:      "A Region must be enabled in each account that owns a copy there.",
		remediation: "Enable the Region in account {account}, or remove it from regions.",
	},
	{
		code:            "credentials_rejected",
		references:      "5.8 5.11",
		operations:      "ec2:*",
		awsCodes:        "AuthFailure",
		messageContains: []string{"not able to validate the provided access credentials"},
		summary:         "{region} rejected the credentials",
		detail: "Possible causes: the Region is not enabled in account {account}; the global STS endpoint issued the " +
			"token, which opt-in Regions reject; the keys are wrong or deleted; the clock of this machine " +
			"is off by more than 15 minutes.",
		remediation: "Check the clock of this machine. Enable the Region in account {account}, or remove it from " +
			"regions. If another tool issued the credentials, use the regional STS endpoint.",
	},
	{
		code:       "credentials_unknown",
		references: "5.8",
		awsCodes:   "InvalidClientTokenId UnrecognizedClientException",
		summary:    "AWS does not know the credentials",
		detail: "Possible causes: the Region is not enabled in account {account}; the global STS endpoint issued the " +
			"token, which opt-in Regions reject; the keys are wrong or deleted.",
		remediation: "Check the keys. Enable the Region in account {account}, or remove it from regions. If another " +
			"tool issued the credentials, use the regional STS endpoint.",
	},
	{
		code:            "credentials_of_other_account",
		references:      "5.10 5.9",
		operations:      "sts:*",
		messageContains: []string{"they belong to account"},
		summary:         "the credentials do not belong to account {account}",
		detail:          "Calls with these credentials would change another account, so none was sent.",
		remediation:     "Name a role or a profile of account {account}.",
	},
	{
		code:            "role_chaining_duration",
		references:      "5.2",
		operations:      assumeRoleOperations,
		awsCodes:        "ValidationError",
		messageContains: []string{"role chaining"},
		summary:         "duration_seconds is longer than an hour",
		detail:          "A session of a role chain lasts at most an hour.",
		remediation:     "Remove duration_seconds. Sessions are renewed during the run.",
	},
	{
		code:            "session_duration",
		references:      "5.1",
		operations:      assumeRoleOperations,
		awsCodes:        "ValidationError",
		messageContains: []string{"exceeds the MaxSessionDuration"},
		summary:         "duration_seconds is longer than the role allows",
		detail:          "duration_seconds exceeds the maximum session duration of the role.",
		remediation:     "Remove duration_seconds. Sessions are renewed during the run.",
	},
	{
		code:        "assume_role_invalid",
		references:  "5.5 5.1",
		operations:  assumeRoleOperations,
		awsCodes:    "ValidationError",
		summary:     "STS rejected the assume_role block",
		detail:      "The ARN, session name, external ID, source identity, duration, policy or tags are not valid.",
		remediation: "Correct the part of assume_role that the message names.",
	},
	{
		code:            "transitive_tags",
		references:      "5.5",
		operations:      assumeRoleOperations,
		awsCodes:        "InvalidParameterValue",
		messageContains: []string{"transitive tag key"},
		summary:         "STS rejected a transitive session tag",
		detail:          "An inherited tag cannot be set again, and a transitive key must be a key of tags.",
		remediation:     "Correct tags and transitive_tag_keys of assume_role.",
	},
	{
		code:        "session_tags",
		references:  "5.5",
		operations:  assumeRoleOperations,
		awsCodes:    "InvalidParameterValue",
		summary:     "STS rejected a session tag",
		detail:      "A tag is set twice, or is not valid.",
		remediation: "Correct tags and transitive_tag_keys of assume_role.",
	},
	{
		code:        "session_policy_invalid",
		references:  "5.6",
		operations:  assumeRoleOperations,
		awsCodes:    "MalformedPolicyDocument",
		summary:     "the session policy is not valid",
		detail:      "The option policy of assume_role is not JSON that IAM accepts.",
		remediation: "Correct policy: it must be a document with Version and Statement.",
	},
	{
		code:       "session_policy_size",
		references: "5.6 5.7",
		operations: assumeRoleOperations,
		awsCodes:   "PackedPolicyTooLarge",
		summary:    "the session policy and session tags are too large",
		detail: "AWS limits the packed size of policy, policy_arns and tags of a session, including inherited " +
			"tags.",
		remediation: "Shorten policy, or remove policy_arns or tags.",
	},
	{
		code:            "root_user",
		references:      "5.6",
		operations:      assumeRoleOperations,
		awsCodes:        "AccessDenied",
		messageContains: []string{"assumed by root accounts"},
		summary:         "a root user cannot assume a role",
		detail:          "AWS does not allow it.",
		remediation:     "Use credentials of an IAM user or role.",
	},
}
