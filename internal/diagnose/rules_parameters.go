// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// parameterRules explain errors of SSM, which also returns those of KMS (section 7).
var parameterRules = []rule{
	{
		references:      "7.9 3.4.3 7.10",
		operations:      "ssm:PutParameter",
		codes:           "AccessDeniedException",
		messageContains: []string{hiddenKeyMessage},
		aboutKey:        true,
		summary:         "the parameter cannot be encrypted under {key}",
		detail: "SSM hands on the refusal of KMS, which does not tell whether the key does not exist in {region} " +
			"or {who} may not use it: a standard parameter takes kms:Encrypt, an advanced one kms:GenerateDataKey",
		remediation: "check the key; an AMI id needs no key as a String of data type aws:ec2:image",
		statements:  allowOnKey("kms:Encrypt", "kms:GenerateDataKey"),
	},
	{
		references:      "7.10 7.9 3.4.3",
		operations:      "ssm:GetParameter ssm:GetParameters ssm:GetParametersByPath",
		codes:           "AccessDeniedException",
		messageContains: []string{hiddenKeyMessage},
		aboutKey:        true,
		summary:         "the parameter cannot be decrypted with {key}",
		detail: "SSM hands on the refusal of KMS, which does not tell whether the key does not exist in {region} " +
			"or {who} may not use it",
		remediation: "check the key",
		statements:  allowOnKey("kms:Decrypt"),
	},
	{
		references:      "7.7",
		codes:           "AccessDeniedException",
		messageContains: []string{"reserved parameter name"},
		summary:         "the name is reserved",
		detail:          "names of parameters may not begin with aws or ssm",
		remediation:     "name the parameter otherwise",
	},
	{
		references: "7.2 7.3",
		operations: "ssm:GetParameter ssm:GetParameters",
		codes:      "ParameterNotFound ParameterVersionNotFound",
		summary:    "the parameter that was put is not there",
		detail: "SSM checks a parameter of data type aws:ec2:image after it has answered: nothing is written " +
			"where the image does not exist, is not visible to account {account}, or {who} lacks ec2:DescribeImages",
		remediation: "check that the image is there",
		statements:  allowForCaller("ec2:DescribeImages"),
	},
	{
		references:  "7.8",
		codes:       "ParameterAlreadyExists",
		summary:     "there is such a parameter already",
		detail:      "without overwrite SSM does not touch it",
		remediation: "let it be overwritten, or name the parameter otherwise",
	},
	{
		references:  "7.8",
		codes:       "ParameterLimitExceeded",
		summary:     "account {account} has too many parameters in {region}",
		detail:      "AWS allows 10,000 standard and 100,000 advanced ones",
		remediation: "delete parameters, use the advanced tier, or ask AWS for more",
	},
	{
		references:  "7.7 7.8",
		codes:       "ParameterMaxVersionLimitExceeded",
		summary:     "the parameter can have no further version",
		detail:      "AWS keeps 100 versions, and the oldest bears a label, which protects it",
		remediation: "move the label to a newer version with `aws ssm label-parameter-version`",
	},
	{
		references:  "7.8 4.2.1",
		codes:       "TooManyUpdates",
		summary:     "somebody else writes the parameter",
		detail:      "several writers are at it at once",
		remediation: retryLater,
	},
	{
		references:  "7.8",
		codes:       "InvalidKeyId",
		aboutKey:    true,
		summary:     "SSM cannot use {key}",
		detail:      "it does not exist in {region}, or its state does not let it encrypt",
		remediation: "check the key, its Region and its state",
	},
	{
		references:  "7.8 7.7",
		codes:       "HierarchyLevelLimitExceededException",
		summary:     "the name has too many levels",
		detail:      "AWS allows 15",
		remediation: "give the parameter a shorter path",
	},
	{
		references:  "7.8",
		codes:       "HierarchyTypeMismatchException",
		summary:     "the parameter is of another type",
		detail:      "the type of an existing parameter cannot be changed",
		remediation: "delete it first, or name the parameter otherwise",
	},
	{
		references:  "7.8",
		codes:       "InvalidAllowedPatternException",
		summary:     "the parameter's allowed pattern is no pattern",
		detail:      "it is not a regular expression that SSM takes",
		remediation: "correct the pattern that the parameter was made with",
	},
	{
		references:  "7.8",
		codes:       "ParameterPatternMismatchException",
		summary:     "the value does not fit the parameter's allowed pattern",
		detail:      "the parameter was made with a pattern that an AMI id does not match",
		remediation: "change the pattern, or name the parameter otherwise",
	},
	{
		references:  "7.8",
		codes:       "UnsupportedParameterType",
		summary:     "SSM does not know the type of the parameter",
		detail:      "types are String, StringList and SecureString",
		remediation: "use String",
	},
	{
		references:      "7.5",
		messageContains: []string{"Unsupported data type"},
		summary:         "the parameter is not of data type aws:ec2:image",
		detail:          "launch templates that name it with resolve:ssm: take that data type only",
		remediation:     "delete the parameter, because its data type cannot be changed, and let it be made again",
	},
	{
		references:      "7.8",
		operations:      "ssm:PutParameter",
		codes:           "ValidationException",
		messageContains: []string{"overwrite"},
		summary:         "tags cannot be given to a parameter that is overwritten",
		detail:          "tags belong to the creation of a parameter",
		remediation:     reportDefect,
	},
	{
		references:      "7.4 7.1",
		operations:      "ssm:PutParameter",
		codes:           "ValidationException",
		messageContains: []string{"data type"},
		summary:         "the data type is refused",
		detail: "the data type of an existing parameter cannot be changed, and aws:ec2:image is for parameters of " +
			"type String only",
		remediation: "delete the parameter, or name it otherwise; use String",
	},
	{
		references: "7.7",
		operations: "ssm:PutParameter",
		codes:      "ValidationException",
		summary:    "SSM does not take the parameter",
		detail: "one of its limits is passed: 4 KB of value, 8 KB in the advanced tier; a name of 1,011 " +
			"characters with the ARN before it, which may not begin with aws or ssm",
		remediation: "name the parameter otherwise",
	},
}
