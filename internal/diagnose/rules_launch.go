// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// launchRules explain instances that terminate as soon as they launch (section 8).
var launchRules = []rule{
	{
		references:      "8.5 8.6 1.8.6 A.4.9",
		operations:      "ec2:RunInstances",
		messageContains: []string{"Client.InvalidKMSKey.InvalidState"},
		aboutKey:        true,
		summary:         "the instance ended because of a key",
		detail: "EC2 says so where the key of a volume is disabled, where the account's default key is, and where " +
			"who launches may not use it; a service-linked role, as Auto Scaling's, may use a customer key only by its key " +
			"policy or a grant",
		remediation: "check that the key is enabled; with a key of another account, let the account of a " +
			"service-linked role make it a grant: `aws kms create-grant`",
		statements: allowLaunch,
	},
	{
		references:      "8.5 8.6 1.8.6",
		operations:      "ec2:RunInstances",
		messageContains: []string{"Client.InternalError"},
		aboutKey:        true,
		summary:         "the instance ended as soon as it began",
		detail: "EC2 says so, among others, where the key of a volume is disabled or who launches may not use it; " +
			"a service-linked role, as Auto Scaling's, may use a customer key only by its key policy or a grant",
		remediation: "check that the key is enabled; with a key of another account, let the account of a " +
			"service-linked role make it a grant: `aws kms create-grant`",
		statements: allowLaunch,
	},
}
