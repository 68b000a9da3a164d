// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package survey

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"

// Rights are what looking takes of the source credentials, and of those of a target.
func Rights() (source, target []plan.Right) {
	source = []plan.Right{
		{Action: "ec2:DescribeRegions", Resource: "*", Rule: "5.8"},
		{Action: "ec2:DescribeImages", Resource: "*", Rule: "2.2.12"},
		{Action: "ec2:DescribeSnapshots", Resource: "*", Rule: "1.2.4"},
		{Action: "ec2:DescribeImageAttribute", Resource: "*", Rule: "2.2.11"},
		{Action: "ec2:DescribeSnapshotAttribute", Resource: "*", Rule: "2.1.4"},
		{Action: "ec2:GetEbsEncryptionByDefault", Resource: "*", Rule: "1.7.3"},
		{Action: "ec2:GetEbsDefaultKmsKeyId", Resource: "*", Rule: "1.7.1"},
	}
	target = []plan.Right{
		{Action: "ec2:DescribeImages", Resource: "*", Rule: "2.5.2"},
		{Action: "ec2:DescribeSnapshots", Resource: "*", Rule: "4.2.2"},
		{Action: "ec2:GetEbsEncryptionByDefault", Resource: "*", Rule: "1.7.3"},
		{Action: "ec2:GetEbsDefaultKmsKeyId", Resource: "*", Rule: "1.7.1"},
	}
	return source, target
}
