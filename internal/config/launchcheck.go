// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import "regexp"

// LaunchCheck launches one instance of every image that a target gets, with the target's own credentials, and waits until it runs. The instance takes
// nothing from the network and needs no way to it; its metadata service asks for tokens (IMDSv2). It and its volumes are terminated in every outcome,
// after a run that was cut off by the next one. It takes the rights `ec2:RunInstances`, `ec2:DescribeInstances`, `ec2:TerminateInstances` and `ec2:CreateTags` of the target's role, and those of a launch on the target's key.
type LaunchCheck struct {
	// The type of the instance, one that the architecture of the image runs on, such as `t3.micro`, or `t4g.micro` for arm64.
	InstanceType string `mapstructure:"instance_type" required:"true"`
	// The subnet to launch in: for a target of one account and one Region. Default: one of the account's default VPC.
	SubnetID string `mapstructure:"subnet_id"`
	// Tags of the instance and its volumes. The values may name [template variables](#template-variables).
	RunTags map[string]string `mapstructure:"run_tags"`
}

var (
	instanceTypes = regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`)
	subnetIDs     = regexp.MustCompile(`^subnet-[0-9a-f]{8}(?:[0-9a-f]{9})?$`)
)

// check judges a launch check; many: in more than one account or Region.
func (l *LaunchCheck) check(p *diagnostics, many bool) {
	if l.InstanceType == "" {
		p.add("instance_type", "missing")
	}
	if literal(l.InstanceType) && !instanceTypes.MatchString(l.InstanceType) {
		p.add("instance_type", "%q is no type of an instance, such as t3.micro", l.InstanceType)
	}
	switch {
	case literal(l.SubnetID) && !subnetIDs.MatchString(l.SubnetID):
		p.add("subnet_id", "%q is no id of a subnet, such as subnet-0123456789abcdef0", l.SubnetID)
	case l.SubnetID != "" && many:
		p.add("subnet_id", "a subnet is of one account and Region; write a target for each")
	}
	p.tags("run_tags", l.RunTags)
	for _, key := range sorted(l.RunTags) {
		p.template(element("run_tags", key), l.RunTags[key], false)
	}
}
