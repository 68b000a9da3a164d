// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
)

// LaunchCheck launches one instance of every image that a target gets, with the target's own credentials, and waits until it runs. The instance takes
// nothing from the network and needs no way to it; its metadata service asks for tokens (IMDSv2). It and its volumes are terminated in every outcome,
// after a run that was cut off by the next one. It takes the rights `ec2:RunInstances`, `ec2:DescribeInstances`, `ec2:TerminateInstances` and `ec2:CreateTags` of the target's role, and those of a launch on the target's key.
type LaunchCheck struct {
	// The type of the instance, one that the architecture of the image runs on, such as `t3.micro`, or `t4g.micro` for arm64.
	InstanceType string `mapstructure:"instance_type" required:"true"`
	// The subnet to launch in: for a target of one account and one Region. Default: one of the account's default VPC.
	SubnetID string `mapstructure:"subnet_id"`
	// Finds the subnet in each account and Region, for accounts without a default VPC. See [subnet_filter](#subnet_filter). One of `subnet_id` and `subnet_filter`.
	SubnetFilter *SubnetFilter `mapstructure:"subnet_filter"`
}

// SubnetFilter finds the subnet of a launch check, as in amazon-ebs. Of several subnets, the one with the most free addresses is used.
type SubnetFilter struct {
	// Filters of `ec2:DescribeSubnets`, such as `{ "tag:Tier" = "private" }`.
	Filters map[string]string `mapstructure:"filters" required:"true"`
}

func (f *SubnetFilter) check(p *diagnostics) {
	if len(f.Filters) == 0 {
		p.add("filters", "missing; give filters of ec2:DescribeSubnets, such as { \"tag:Tier\" = \"private\" }")
	}
	p.filters(f.Filters)
}

// check judges a launch check; many: in more than one account or Region.
func (l *LaunchCheck) check(p *diagnostics, many bool) {
	if l.InstanceType == "" {
		p.add("instance_type", "missing; give a type that the architecture of the AMI runs on, such as \"t3.micro\"")
	}
	p.limit("instance_type", awslimits.InstanceType, l.InstanceType)
	if p.limit("subnet_id", awslimits.SubnetID, l.SubnetID) && l.SubnetID != "" && many {
		p.add("subnet_id", "%q exists in one account and Region, and the target has several; give subnet_filter", l.SubnetID)
	}
	if l.SubnetFilter == nil {
		return
	}
	if l.SubnetID != "" {
		p.add("subnet_filter", "no effect beside subnet_id; give one of them")
	}
	l.SubnetFilter.check(p.in("subnet_filter"))
}
