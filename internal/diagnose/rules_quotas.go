// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

// quotaRules explain quotas, throttling and what a call refers to in vain (sections 4, 9 and A.4).
var quotaRules = []rule{
	{
		references:  "4.1.1 4.1.5 A.3.1 A.3.2 A.3.3",
		operations:  "ec2:CopySnapshot",
		codes:       "ResourceLimitExceeded",
		summary:     "too many snapshots are being copied to {region}",
		detail:      "account {account} may have {limit} copies under way to a Region, also those that others began",
		remediation: "wait for copies to end and run again, or ask AWS to raise the limit",
	},
	{
		references:  "4.1.4",
		operations:  "ec2:RegisterImage",
		codes:       "ResourceLimitExceeded",
		summary:     "account {account} has too many images in {region}",
		detail:      "AWS allows 50,000 unless it has raised the limit",
		remediation: "deregister images, or ask AWS to raise the limit, and run again: what is done stays done",
	},
	{
		references:  "4.1.2 4.1.3 4.1.5",
		codes:       "ResourceLimitExceeded",
		summary:     "too much is under way in {region}",
		detail:      "account {account} may have {limit} at once, also those that others began",
		remediation: "wait for copies to end and run again, or ask AWS to raise the limit",
	},
	{
		references:  "4.1.4",
		codes:       "SnapshotLimitExceeded",
		summary:     "account {account} has too many snapshots in {region}",
		detail:      "AWS allows 100,000 unless it has raised the limit",
		remediation: "delete snapshots, or ask AWS to raise the limit",
	},
	{
		references:  "4.1.4",
		codes:       "PendingSnapshotLimitExceeded",
		summary:     "too many snapshots of account {account} are pending",
		detail:      "AWS limits how many are made at once",
		remediation: "wait for some to end and run again",
	},
	{
		references:  "4.2.1 3.7 3.2.9",
		codes:       "RequestLimitExceeded Throttling ThrottlingException TooManyRequestsException",
		summary:     "AWS wants fewer calls",
		detail:      "the calls of the whole account count, not only this run's",
		remediation: retryLater,
	},
	{
		references: "3.7 7.8",
		codes: "KeyUnavailableException DependencyTimeoutException KMSInternalException InternalServerError " +
			"InternalError InternalFailure ServiceUnavailable Unavailable",
		summary:     "AWS is in trouble",
		detail:      "the fault is on its side",
		remediation: retryLater,
	},
	{
		references:  "4.2.3",
		codes:       "IdempotentParameterMismatch",
		summary:     "the same token came with another request",
		detail:      "AWS remembers a token with all that came with it, and something of it was changed since",
		remediation: "run again with what the first call had, or as a new run",
	},
	{
		references:      "4.6.5 2.1.5 A.4.7",
		operations:      copyOperations,
		messageContains: []string{"Source snapshot is not found"},
		eventual:        true,
		summary:         "EC2 did not find the snapshot to copy",
		detail: "EC2 took the call and looked afterwards: the snapshot does not exist in the source Region, or is " +
			"not shared with account {account}, or its share was not known yet",
		remediation: "run again; check the snapshot's createVolumePermission with the source credentials",
	},
	{
		references:      "4.6.5 A.4.7",
		messageContains: []string{"Source snapshot is not complete"},
		eventual:        true,
		summary:         "the snapshot to copy was not complete",
		detail:          "a snapshot can be copied after it is completed",
		remediation:     "run again: what is done stays done",
	},
	{
		references:      "A.4.7",
		codes:           "IncorrectState",
		messageContains: []string{"Snapshot is in invalid state"},
		summary:         "the snapshot was not complete",
		detail:          "a volume can be made of it after it is completed",
		remediation:     "run again: what is done stays done",
	},
	{
		references:      "4.8.1",
		codes:           "InvalidParameterValue",
		messageContains: []string{"completion duration"},
		summary:         "the copy cannot be asked to take so long",
		detail:          "times are 15 to 2880 minutes, in steps of 15",
		remediation:     reportDefect,
	},
	{
		references:  "A.4.12",
		codes:       "InvalidLaunchTemplateId.NotFound InvalidLaunchTemplateName.NotFoundException",
		summary:     "there is no such launch template in {region}",
		detail:      "launch templates are looked up in account {account}, and never shared",
		remediation: "make it there, or correct id or name",
	},
	{
		references:  "A.4.12",
		codes:       "InvalidLaunchTemplateId.VersionNotFound",
		summary:     "the launch template has no such version",
		detail:      "versions are numbers, $Default and $Latest, and deleted ones do not come back",
		remediation: "correct source_version",
	},
	{
		references:      "9.18 2.4.4",
		operations:      "ec2:RunInstances",
		codes:           "InvalidParameterCombination",
		messageContains: []string{"instance type"},
		summary:         "the image does not run on this instance type",
		detail: "types may ask for enhanced networking (ENA), which the image has to support, and an image may be " +
			"made for some types alone",
		remediation: "set instance_type in launch_check to one that the image is made for",
	},
	{
		references: "9.0",
		operations: "license-manager:UpdateLicenseSpecificationsForResource",
		codes:      "InvalidParameterValueException",
		summary:    "License Manager does not take the license configuration",
		detail:     "it takes those that the account may use, in the image's Region",
		remediation: "check license_configuration_arns: that it is there, of {region}, and shared with account " +
			"{account} where it is another one's",
	},
	{
		references:  "9.0",
		operations:  "license-manager:UpdateLicenseSpecificationsForResource",
		codes:       "InvalidResourceStateException LicenseUsageException ConflictException",
		summary:     "License Manager cannot associate the image now",
		detail:      "the license configuration is not in a state for it, has no license left, or is being changed",
		remediation: "look at it in License Manager, then run again: what is done stays done",
	},
}
