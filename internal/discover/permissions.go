// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// RequiredPermissions returns the permissions that discovery needs in the source account, and in the target accounts.
func RequiredPermissions(requests ...distribution.Request) (source, target []step.Permission) {
	asked := func(by func(distribution.Target) bool) bool {
		return slices.ContainsFunc(requests, func(r distribution.Request) bool { return slices.ContainsFunc(r.Targets, by) })
	}
	source = []step.Permission{
		{Action: "ec2:DescribeRegions", Resource: "*", Rule: "5.8"},
		{Action: "ec2:DescribeTags", Resource: "*", Rule: "2.2.12"}, // the records of runs
		{Action: "ec2:DescribeImages", Resource: "*", Rule: "2.2.12"},
		{Action: "ec2:DescribeSnapshots", Resource: "*", Rule: "1.2.4"},
		{Action: "ec2:DescribeImageAttribute", Resource: "*", Rule: "2.2.11"},
		{Action: "ec2:DescribeSnapshotAttribute", Resource: "*", Rule: "2.1.4"},
		{Action: "ec2:GetEbsEncryptionByDefault", Resource: "*", Rule: "1.7.3"},
		{Action: "ec2:GetEbsDefaultKmsKeyId", Resource: "*", Rule: "1.7.1"},
	}
	target = []step.Permission{
		{Action: "ec2:DescribeTags", Resource: "*", Rule: "4.3.4"}, // what earlier runs left
		{Action: "ec2:DescribeImages", Resource: "*", Rule: "2.5.2"},
		{Action: "ec2:DescribeSnapshots", Resource: "*", Rule: "4.2.2"},
		{Action: "ec2:GetEbsEncryptionByDefault", Resource: "*", Rule: "1.7.3"},
		{Action: "ec2:GetEbsDefaultKmsKeyId", Resource: "*", Rule: "1.7.1"},
	}
	if asked(func(t distribution.Target) bool { return t.LaunchCheck != nil }) {
		target = append(target,
			step.Permission{Action: "ec2:DescribeInstances", Resource: "*", Rule: "8.7"},
			step.Permission{Action: "ec2:DescribeInstanceTypes", Resource: "*", Rule: "2.4.4"},
			step.Permission{Action: "ec2:DescribeSubnets", Resource: "*", Rule: "8.6"})
	}
	if asked(func(t distribution.Target) bool { return len(t.Templates) > 0 }) {
		target = append(target, step.Permission{Action: "ec2:DescribeLaunchTemplates", Resource: "*", Rule: "A.4.12"},
			step.Permission{Action: "ec2:DescribeLaunchTemplateVersions", Resource: "*", Rule: "A.4.12"})
	}
	if slices.ContainsFunc(
		requests,
		func(r distribution.Request) bool { return r.SourceKeyAccess == distribution.ByGrant },
	) {
		source = append(source, step.Permission{Action: "kms:ListGrants", Resource: "*", Rule: "3.2.9"})
	}
	if slices.ContainsFunc(requests, func(r distribution.Request) bool { return r.SourceRetention.On() }) {
		source = append(source, step.Permission{
			Action:   "ssm:GetParameters",
			Resource: "arn:aws:ssm:*:*:parameter" + provenance.RetiredSourcePath + "*",
			Rule:     "7.2",
		})
	}
	return source, target
}
