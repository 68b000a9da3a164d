// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (w *World) describeSecurityGroups(
	c *Call, in *ec2.DescribeSecurityGroupsInput,
) (*ec2.DescribeSecurityGroupsOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	network := w.network(c.location())
	for _, id := range in.GroupIds {
		if _, ok := network.groups.get(id); !ok {
			return nil, securityGroupNotFound(id)
		}
	}

	var seen []types.SecurityGroup
	for id, group := range network.groups.all {
		if len(in.GroupIds) > 0 && !slices.Contains(in.GroupIds, id) ||
			len(in.GroupNames) > 0 && !slices.Contains(in.GroupNames, *group.GroupName) {
			continue
		}
		view := *group
		view.Tags = w.tagsOf(id)
		seen = append(seen, view)
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, securityGroupFilters,
		func(list []types.SecurityGroup, next *string) *ec2.DescribeSecurityGroupsOutput {
			return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: list, NextToken: next}
		})
}

var securityGroupFilters = filterFields[types.SecurityGroup]{
	tags: func(g types.SecurityGroup) []types.Tag { return g.Tags },
	values: map[string]func(types.SecurityGroup) []string{
		"description": func(g types.SecurityGroup) []string { return []string{*g.Description} },
		"group-id":    func(g types.SecurityGroup) []string { return []string{*g.GroupId} },
		"group-name":  func(g types.SecurityGroup) []string { return []string{*g.GroupName} },
		"owner-id":    func(g types.SecurityGroup) []string { return []string{*g.OwnerId} },
		"vpc-id":      func(g types.SecurityGroup) []string { return []string{*g.VpcId} },
	},
}

func (w *World) createSecurityGroup(c *Call, in *ec2.CreateSecurityGroupInput) (*ec2.CreateSecurityGroupOutput, error) {
	name, description := aws.ToString(in.GroupName), aws.ToString(in.Description)
	switch {
	case name == "":
		return nil, missingParameter("GroupName")
	case description == "":
		return nil, missingParameter("GroupDescription")
	}

	loc := c.location()
	if err := w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeSecurityGroup); err != nil {
		return nil, err
	}

	err := w.authorize(c, addTagOnCreate(c, in.TagSpecifications, newAuthorization(c, loc, "security-group/*"))...)
	if err != nil {
		return nil, err
	}

	network := w.network(loc)
	if vpc := aws.ToString(in.VpcId); vpc != "" && vpc != network.vpc {
		return nil, badRequest("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", vpc)
	}

	for _, group := range network.groups.all {
		if *group.GroupName == name {
			return nil, badRequest(
				"InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, network.vpc,
			)
		}
	}

	group := network.addSecurityGroup(loc, w.newID(c, "sg-"), name, description)
	tags := w.tagNewResource(c, *group.GroupId, types.ResourceTypeSecurityGroup, in.TagSpecifications)
	return &ec2.CreateSecurityGroupOutput{
		GroupId: group.GroupId, SecurityGroupArn: group.SecurityGroupArn, Tags: tags,
	}, nil
}

func (w *World) deleteSecurityGroup(c *Call, in *ec2.DeleteSecurityGroupInput) (*ec2.DeleteSecurityGroupOutput, error) {
	loc := c.location()
	group, err := w.findSecurityGroup(loc, in.GroupId, in.GroupName)
	if err != nil {
		return nil, err
	}
	if err := w.authorize(c, w.newAuthorizationOnOwn(c, "security-group", *group.GroupId)); err != nil {
		return nil, err
	}

	for _, one := range w.instances.all {
		holds := func(g types.GroupIdentifier) bool { return *g.GroupId == *group.GroupId }
		if one.location == loc && !one.isInState(c.At, types.InstanceStateNameTerminated) &&
			slices.ContainsFunc(one.attributes.SecurityGroups, holds) {
			return nil, badRequest("DependencyViolation", "resource %s has a dependent object", *group.GroupId)
		}
	}

	w.network(loc).groups.remove(*group.GroupId)
	delete(w.resources, *group.GroupId)
	c.changedIDs = append(c.changedIDs, *group.GroupId)
	return &ec2.DeleteSecurityGroupOutput{Return: aws.Bool(true), GroupId: group.GroupId}, nil
}

func (w *World) authorizeSecurityGroupIngress(
	c *Call, in *ec2.AuthorizeSecurityGroupIngressInput,
) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	loc := c.location()
	group, err := w.findSecurityGroup(loc, in.GroupId, in.GroupName)
	if err != nil {
		return nil, err
	}

	permissions := slices.Clone(in.IpPermissions)
	if in.IpProtocol != nil {
		permissions = append(permissions, types.IpPermission{
			IpProtocol: in.IpProtocol,
			FromPort:   in.FromPort,
			ToPort:     in.ToPort,
			IpRanges:   []types.IpRange{{CidrIp: in.CidrIp}},
		})
	}

	if len(permissions) == 0 {
		return nil, missingParameter("ipPermissions")
	}
	if err := w.authorize(c, w.newAuthorizationOnOwn(c, "security-group", *group.GroupId)); err != nil {
		return nil, err
	}

	group.IpPermissions = append(group.IpPermissions, permissions...)
	out := &ec2.AuthorizeSecurityGroupIngressOutput{Return: aws.Bool(true)}
	for _, p := range permissions {
		for _, r := range p.IpRanges {
			out.SecurityGroupRules = append(out.SecurityGroupRules, types.SecurityGroupRule{
				SecurityGroupRuleId: aws.String(w.newID(c, "sgr-")),
				GroupId:             group.GroupId,
				GroupOwnerId:        &loc.account,
				IsEgress:            aws.Bool(false),
				IpProtocol:          p.IpProtocol,
				FromPort:            p.FromPort,
				ToPort:              p.ToPort,
				CidrIpv4:            r.CidrIp,
				Description:         r.Description,
			})
		}
	}

	return out, nil
}

// findSecurityGroup returns a security group by ID or name.
func (w *World) findSecurityGroup(loc location, id, name *string) (*types.SecurityGroup, error) {
	groups := &w.network(loc).groups
	if id != nil {
		if group, ok := groups.get(*id); ok {
			return group, nil
		}
		return nil, securityGroupNotFound(*id)
	}

	for _, group := range groups.all {
		if *group.GroupName == aws.ToString(name) {
			return group, nil
		}
	}

	return nil, securityGroupNotFound(aws.ToString(name))
}

func securityGroupNotFound(name string) *APIError {
	return badRequest("InvalidGroup.NotFound", "The security group '%s' does not exist", name)
}
