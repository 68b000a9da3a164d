// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// launchRules explain instances that terminate as soon as they launch (section 8).
var launchRules = []rule{
	{
		code:            "launch_key_state",
		references:      "8.5 8.6 1.8.6 A.4.9",
		operations:      "ec2:RunInstances",
		messageContains: []string{"Client.InvalidKMSKey.InvalidState"},
		aboutKey:        true,
		summary:         "the instance terminated because of a key",
		detail: "EC2 reports this if the key of a volume or the default key of the account is disabled, or if " +
			"the caller may not use it. A service-linked role such as that of Auto Scaling can use a customer managed key " +
			"only through the policy of the key or a grant.",
		remediation: "Check that the key is enabled. If the key belongs to another account, create a grant for the " +
			"service-linked role with `aws kms create-grant`.",
		statements: allowLaunch,
	},
	{
		code:            "launch_internal_error",
		references:      "8.5 8.6 1.8.6",
		operations:      "ec2:RunInstances",
		messageContains: []string{"Client.InternalError"},
		aboutKey:        true,
		summary:         "the instance terminated immediately after launch",
		detail: "The key of a volume may be disabled, or the caller may not use it. A service-linked role " +
			"such as that of Auto Scaling can use a customer managed key only through the policy of the key or a grant.",
		remediation: "Check that the key is enabled. If the key belongs to another account, create a grant for the " +
			"service-linked role with `aws kms create-grant`.",
		statements: allowLaunch,
	},
}
