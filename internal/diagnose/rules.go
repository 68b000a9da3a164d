// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// rule maps an error of AWS to the text of a finding. The texts may contain the placeholders of match.fillPlaceholders.
type rule struct {
	code            string   // of the finding: a heading of the troubleshooting guide
	references      string   // numbers of the AWS rules behind it, separated by spaces; a finding shows the first
	operations      string   // separated by spaces, "kms:*" for all of a service; every operation if empty
	awsCodes        string   // separated by spaces; every error code if empty
	messageContains []string // fragments of "Code: message", without apostrophes and limits, which vary (2.2.2, 4.1.1)

	cause distribution.CredentialCause // of an error before AWS was called; empty for errors of AWS

	aboutKey bool // the error concerns the key that encrypts, so the finding names that key as its resource
	eventual bool // a retry may succeed, because AWS may not have seen yet what the call depends on

	summary     string
	detail      string
	remediation string                              // what to do apart from adding statements
	statements  func(match) []distribution.Addition // nil if no missing permission causes the error

	externalIDWorked *rule // replaces the rule if the external id worked in another account of the block
}

// reference returns the number of the AWS rule that a finding shows.
func (r *rule) reference() string {
	first, _, _ := strings.Cut(r.references, " ")
	return first
}

func (r *rule) matches(e distribution.APIError) bool {
	if r.cause != e.Cause || !r.isAbout(e.Operation) || !isListed(e.Code, r.awsCodes) {
		return false
	}
	text := e.Code + ": " + e.Message
	isMissing := func(fragment string) bool { return !strings.Contains(text, fragment) }
	return !slices.ContainsFunc(r.messageContains, isMissing)
}

// isAbout reports whether the rule explains errors of an operation.
func (r *rule) isAbout(operation string) bool {
	service, _, _ := strings.Cut(operation, ":")
	return isListed(operation, r.operations) || isListed(service+":*", r.operations)
}

// isListed reports whether a name is in a list that is separated by spaces. An empty list contains every name.
func isListed(name, list string) bool {
	return list == "" || slices.Contains(strings.Fields(list), name)
}

// Operations, error codes and messages that several rules share.
const (
	accessDeniedCodes    = "UnauthorizedOperation AccessDenied AccessDeniedException AuthorizationException"
	assumeRoleOperations = "sts:AssumeRole sts:AssumeRoleWithWebIdentity sts:AssumeRoleWithSAML"
	copyOperations       = "ec2:CopySnapshot ec2:CopyImage"
	hiddenKeyMessage     = "ciphertext refers to a customer master key that does not exist"

	sharingOperations        = "ec2:ModifySnapshotAttribute ec2:ModifyImageAttribute"
	namingOperations         = "ec2:RegisterImage ec2:CopyImage"
	encryptingOperations     = copyOperations + " ec2:CreateVolume ec2:RunInstances"
	clientTokenOperations    = "ec2:CopyImage ec2:CreateVolume ec2:RunInstances ec2:CreateLaunchTemplateVersion"
	launchTemplateOperations = "ec2:DescribeLaunchTemplates ec2:DescribeLaunchTemplateVersions " +
		"ec2:CreateLaunchTemplateVersion ec2:ModifyLaunchTemplate"
	ownerOperations = "ec2:DescribeImageAttribute ec2:ModifyImageAttribute ec2:DeregisterImage " +
		"ec2:EnableImageDeprecation ec2:EnableImageDeregistrationProtection ec2:DisableImageDeregistrationProtection"
	imageOperations = ownerOperations + " ec2:CopyImage ec2:CreateTags ec2:DeleteTags ec2:DescribeImages " +
		"ec2:EnableFastLaunch ec2:RunInstances"
	snapshotOperations = "ec2:CopySnapshot ec2:CreateTags ec2:CreateVolume ec2:DeleteSnapshot ec2:DeleteTags " +
		"ec2:DescribeSnapshots ec2:RegisterImage ec2:RunInstances"
)

// Pages that remediations name.
const (
	repositoryURL = "https://github.com/encrypted-ami/packer-plugin-encrypted-ami"
	newIssueURL   = repositoryURL + "/issues/new/choose"
	policiesURL   = repositoryURL + "/blob/main/docs/policies"
)

// Remediations that several rules share.
const (
	reportDefect     = "This is a bug in the plugin. Report it with this message: " + newIssueURL + "."
	retryLater       = "Resume the run later. It keeps what is completed."
	trustRemediation = "Set external_id to the value of sts:ExternalId in the trust policy. If the policy has no such " +
		"condition, compare it with the documented policy: " + policiesURL + "/target-role-trust.json."
	trustComparison = "Compare the trust policy of {on} with the documented policy: " + policiesURL +
		"/target-role-trust.json."
	explicitDenyNote = "An explicit deny overrides every allow, so no statement helps. {tags}"
)

// rules are all rules. The first that matches an error explains it.
var rules = slices.Concat(
	profileRules,
	credentialRules,
	permissionRules,
	parameterRules,
	encryptionRules,
	imageRules,
	kmsRules,
	quotaRules,
	launchRules,
	fallbackRules,
)

// fallbackRules explain denials for which AWS names no policy.
var fallbackRules = []rule{
	{
		code:       "access_denied",
		references: "6.2",
		awsCodes:   accessDeniedCodes,
		summary:    "{who} may not {action}",
		detail:     "AWS does not say which policy denies it.",
		remediation: "Decode the message: " +
			"`aws sts decode-authorization-message --encoded-message MESSAGE`.",
	},
}

// keyPolicyMissing explains that a key policy, which the run has read, does not allow EC2 to use the key for the
// caller.
var keyPolicyMissing = rule{
	code:       "resource_policy_missing",
	references: "3.2.1",
	aboutKey:   true,
	summary:    "the policy of {key} does not allow {who} to {action}",
	detail: "EC2 creates a grant on the key as {who} of account {whose}. The key policy must allow it, whatever the " +
		"policies of {who} allow.",
	remediation: "If a template sets the key policy, change it there.",
	statements:  allowInResourcePolicy,
}

// foreignEndpoint explains an operation that the endpoint does not have.
var foreignEndpoint = rule{
	code:     "endpoint_not_aws",
	awsCodes: "InvalidAction UnknownOperation UnknownOperationException",
	summary:  "the endpoint is not AWS",
	detail: "AWS has {operation}. An emulator or a proxy may lack it, and a Region may lack a new operation. " +
		"AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_<SERVICE> or endpoint_url of the AWS config file sets the endpoint.",
	remediation: "Remove the custom endpoint.",
}

// unknownCode explains an error code that no rule names.
var unknownCode = rule{
	code:        "aws_error",
	summary:     "{operation} failed with {code}",
	remediation: "Look up the code {code} of {operation} in the AWS API reference, then resume the run.",
}

// noCode explains a failure without an error code: a state of a resource, or a call without a response.
var noCode = rule{
	code:        "aws_error",
	summary:     "{operation} failed",
	remediation: "Resume the run. It keeps what is completed.",
}
