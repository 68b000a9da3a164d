// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// Texts of the rules for the time of a signature (5.11).
const (
	signatureCodes   = "SignatureDoesNotMatch InvalidSignatureException"
	clockSummary     = "the clock of this machine is wrong"
	clockDetail      = "AWS refuses a signature that is more than 15 minutes, for some services 5, off its own clock"
	clockRemediation = "synchronize the clock of this machine, and run again"
)

// credentialRules explain errors of credentials and sessions, for every operation (section 5).
var credentialRules = []rule{
	{
		references: "5.4 5.3 5.11",
		operations: "ec2:*",
		codes:      "RequestExpired",
		summary:    "the credentials have expired, or the clock is wrong",
		detail: "EC2 answers alike if the session has ended and if the clock of this machine differs from AWS's by more " +
			"than 15 minutes",
		remediation: "renew the credentials that the run began with, or correct the clock, and run again: what is done " +
			"stays done",
	},
	{
		references:      "5.11",
		codes:           signatureCodes,
		messageContains: []string{"Signature expired"},
		summary:         clockSummary,
		detail:          clockDetail,
		remediation:     clockRemediation,
	},
	{
		references:      "5.11",
		codes:           signatureCodes,
		messageContains: []string{"Signature not yet current"},
		summary:         clockSummary,
		detail:          clockDetail,
		remediation:     clockRemediation,
	},
	{
		references:  "5.11",
		codes:       signatureCodes,
		summary:     "the secret access key is wrong",
		detail:      "the signature of the request is not that of the access key, or a proxy changed the request",
		remediation: "check the secret access key",
	},
	{
		references:  "5.4 5.3",
		codes:       "RequestExpired ExpiredToken ExpiredTokenException",
		summary:     "the credentials have expired",
		detail:      "their session ended, and new ones could not be had from where they came",
		remediation: "renew the credentials that the run began with and run again: what is done stays done",
	},
	{
		references:  "5.8",
		operations:  "sts:*",
		codes:       "RegionDisabledException",
		summary:     "STS gives no sessions in {region}",
		detail:      "the Region, or its STS endpoint, is switched off in account {account}",
		remediation: "enable the Region in account {account}, or leave it out of regions",
	},
	{
		references:  "5.8",
		codes:       "OptInRequired",
		summary:     "account {account} does not use {region}",
		detail:      "the Region has to be enabled in every account that owns a copy there",
		remediation: "enable the Region in account {account}, or leave it out of regions",
	},
	{
		references:      "5.8 5.11",
		operations:      "ec2:*",
		codes:           "AuthFailure",
		messageContains: []string{"not able to validate the provided access credentials"},
		summary:         "{region} does not know the credentials",
		detail: "one of these is so: the Region is not enabled in account {account}; their token is of the global " +
			"STS endpoint, which Regions to opt in to do not take; the keys are wrong or deleted; the clock of this machine " +
			"differs from AWS's by more than 15 minutes",
		remediation: "check the clock of this machine; enable the Region in account {account} or leave it out of " +
			"regions; if the source credentials were issued by another tool, have it use the regional STS endpoint",
	},
	{
		references: "5.8",
		codes:      "InvalidClientTokenId UnrecognizedClientException",
		summary:    "the credentials are not known",
		detail: "one of these is so: the Region is not enabled in account {account}; their token is of the global " +
			"STS endpoint, which Regions to opt in to do not take; the keys are wrong or deleted",
		remediation: "check the keys; enable the Region in account {account} or leave it out of regions; if the source " +
			"credentials were issued by another tool, have it use the regional STS endpoint",
	},
	{
		references:      "5.10 5.9",
		operations:      "sts:*",
		messageContains: []string{"they belong to account"},
		summary:         "the credentials are not those of account {account}",
		detail:          "what they sign would land in another account, so nothing was sent",
		remediation:     "name a role or a profile of account {account}",
	},
	{
		references:      "5.2",
		operations:      assumeRoleOperations,
		codes:           "ValidationError",
		messageContains: []string{"role chaining"},
		summary:         "the session is to last longer than an hour",
		detail: "a role that is assumed with the credentials of another role lasts an hour at most, and asking " +
			"for more fails",
		remediation: "leave out duration_seconds: sessions are renewed while the run goes on",
	},
	{
		references:      "5.1",
		operations:      assumeRoleOperations,
		codes:           "ValidationError",
		messageContains: []string{"exceeds the MaxSessionDuration"},
		summary:         "the session is to last longer than the role allows",
		detail:          "duration_seconds is more than the role's maximum session duration",
		remediation:     "leave out duration_seconds: sessions are renewed while the run goes on",
	},
	{
		references: "5.5 5.1",
		operations: assumeRoleOperations,
		codes:      "ValidationError",
		summary:    "STS does not take what it was asked with",
		detail: "the role's ARN, session name, external id, source identity, duration, policy or tags are not of " +
			"the form that STS wants",
		remediation: "correct the assume_role block that the text is about",
	},
	{
		references:      "5.5",
		operations:      assumeRoleOperations,
		codes:           "InvalidParameterValue",
		messageContains: []string{"transitive tag key"},
		summary:         "a transitive session tag is refused",
		detail: "a tag inherited from the calling session cannot be passed again, and one that is to be inherited " +
			"has to be among the tags",
		remediation: "mend tags and transitive_tag_keys of the assume_role block",
	},
	{
		references:  "5.5",
		operations:  assumeRoleOperations,
		codes:       "InvalidParameterValue",
		summary:     "STS does not take what it was asked with",
		detail:      "a session tag is given twice, or is not of the form that STS wants",
		remediation: "mend tags and transitive_tag_keys of the assume_role block",
	},
	{
		references:  "5.6",
		operations:  assumeRoleOperations,
		codes:       "MalformedPolicyDocument",
		summary:     "the session policy is no policy",
		detail:      "the option policy of assume_role is not JSON of the form that IAM wants",
		remediation: "correct the option policy: a document with Version and Statement",
	},
	{
		references: "5.6 5.7",
		operations: assumeRoleOperations,
		codes:      "PackedPolicyTooLarge",
		summary:    "session policy and session tags are too large together",
		detail: "AWS packs policy, policy_arns and tags of a session into one room, and tags inherited from " +
			"sessions before count",
		remediation: "shorten policy, or pass fewer policy_arns and tags",
	},
	{
		references:      "5.6",
		operations:      assumeRoleOperations,
		codes:           "AccessDenied",
		messageContains: []string{"assumed by root accounts"},
		summary:         "a root user cannot assume a role",
		detail:          "AWS lets nobody assume a role with an account's root credentials",
		remediation:     "use the credentials of an IAM user or role",
	},
}
