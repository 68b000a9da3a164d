// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
)

// LaunchCheck holds the options of a block `launch_check`.
type LaunchCheck struct {
	// The instance type, which must match the architecture of the AMI, such as `t3.micro`, or `t4g.micro` for arm64.
	InstanceType string `mapstructure:"instance_type" required:"true"`
	// The subnet, for a target of one account and one Region. Default: one of the default VPC.
	SubnetID string `mapstructure:"subnet_id"`
	// Finds the subnet in each account and Region, for accounts without a default VPC. See
	// [subnet_filter](#subnet_filter). Conflicts with `subnet_id`.
	SubnetFilter *SubnetFilter `mapstructure:"subnet_filter"`
}

// SubnetFilter holds the options of a block `subnet_filter`.
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

// check checks a launch check. many is true if the target has several accounts or Regions.
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
