// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Rights are what looking takes of the source credentials, and of those of the targets of some requests.
func Rights(requests ...plan.Request) (source, target []plan.Permission) {
	asked := func(by func(plan.Target) bool) bool {
		return slices.ContainsFunc(requests, func(r plan.Request) bool { return slices.ContainsFunc(r.Targets, by) })
	}
	source = []plan.Permission{
		{Action: "ec2:DescribeRegions", Resource: "*", Rule: "5.8"},
		{Action: "ec2:DescribeImages", Resource: "*", Rule: "2.2.12"},
		{Action: "ec2:DescribeSnapshots", Resource: "*", Rule: "1.2.4"},
		{Action: "ec2:DescribeImageAttribute", Resource: "*", Rule: "2.2.11"},
		{Action: "ec2:DescribeSnapshotAttribute", Resource: "*", Rule: "2.1.4"},
		{Action: "ec2:GetEbsEncryptionByDefault", Resource: "*", Rule: "1.7.3"},
		{Action: "ec2:GetEbsDefaultKmsKeyId", Resource: "*", Rule: "1.7.1"},
	}
	target = []plan.Permission{
		{Action: "ec2:DescribeImages", Resource: "*", Rule: "2.5.2"},
		{Action: "ec2:DescribeSnapshots", Resource: "*", Rule: "4.2.2"},
		{Action: "ec2:GetEbsEncryptionByDefault", Resource: "*", Rule: "1.7.3"},
		{Action: "ec2:GetEbsDefaultKmsKeyId", Resource: "*", Rule: "1.7.1"},
	}
	if asked(func(t plan.Target) bool { return t.LaunchCheck != nil }) {
		target = append(target, plan.Permission{Action: "ec2:DescribeInstances", Resource: "*", Rule: "8.7"})
	}
	if asked(func(t plan.Target) bool { return len(t.Templates) > 0 }) {
		target = append(target, plan.Permission{Action: "ec2:DescribeLaunchTemplates", Resource: "*", Rule: "A.4.12"},
			plan.Permission{Action: "ec2:DescribeLaunchTemplateVersions", Resource: "*", Rule: "A.4.12"})
	}
	if slices.ContainsFunc(requests, func(r plan.Request) bool { return r.SourceKeyAccess == plan.ByGrant }) {
		source = append(source, plan.Permission{Action: "kms:ListGrants", Resource: "*", Rule: "3.2.9"})
	}
	return source, target
}
