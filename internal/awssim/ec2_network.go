// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

var networkOperations = []namedOperation{
	newOperation((*World).describeRegions),
	newOperation((*World).describeAvailabilityZones),
	newOperation((*World).describeVpcs),
	newOperation((*World).describeSubnets),
	newOperation((*World).describeSecurityGroups),
	newOperation((*World).createSecurityGroup),
	newOperation((*World).deleteSecurityGroup),
	newOperation((*World).authorizeSecurityGroupIngress),
}

// network is the network of an account in a Region: the default VPC, its default subnets and security group, and the
// security groups that the account creates.
type network struct {
	vpc     string
	subnets []subnet
	groups  orderedMap[*types.SecurityGroup]
}

// subnet is a default subnet.
type subnet struct{ id, zone, cidr string }

// network returns the network of an account in a Region. It creates the network at first use.
func (w *World) network(loc location) *network {
	created, ok := w.networks[loc]
	if !ok && w.withoutDefaultVPC[loc] {
		created = &network{groups: newOrderedMap[*types.SecurityGroup]()}
		w.networks[loc] = created
	} else if !ok {
		created = &network{vpc: w.newLocationID(loc, "vpc-"), groups: newOrderedMap[*types.SecurityGroup]()}
		for i, zone := range zonesOf(loc.region) {
			created.subnets = append(created.subnets, subnet{
				w.newLocationID(loc, "subnet-"), zone, fmt.Sprintf("172.31.%d.0/20", 16*i),
			})
		}
		created.addSecurityGroup(loc, w.newLocationID(loc, "sg-"), "default", "default VPC security group")
		w.networks[loc] = created
	}

	return created
}

// RemoveDefaultVPC leaves an account without a default VPC in a Region, as many organizations do.
func (w *World) RemoveDefaultVPC(account, region string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	loc := location{account, region}
	w.withoutDefaultVPC[loc] = true
	delete(w.networks, loc)
}

func (n *network) addSecurityGroup(loc location, id, name, description string) *types.SecurityGroup {
	group := &types.SecurityGroup{
		GroupId:          &id,
		GroupName:        &name,
		Description:      &description,
		OwnerId:          &loc.account,
		VpcId:            &n.vpc,
		SecurityGroupArn: aws.String(ec2ARN(loc, "security-group/"+id)),
		IpPermissionsEgress: []types.IpPermission{
			{IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}},
		},
	}

	n.groups.put(id, group)
	return group
}

// newLocationID returns an ID for a resource that exists without a call. It does not depend on the order of calls.
func (w *World) newLocationID(loc location, prefix string) string {
	return prefix + fmt.Sprintf(
		"%016x%01x", w.random("id", prefix, loc.account, loc.region), w.random("id tail", prefix, loc.account, loc.region)%16,
	)
}

func (w *World) describeRegions(c *Call, in *ec2.DescribeRegionsInput) (*ec2.DescribeRegionsOutput, error) {
	for _, name := range in.RegionNames {
		found, known := findRegion(name)
		if w.violates(c, "5.8", !known || found.partition != partitionOf(c.Region)) {
			return nil, badRequest("InvalidParameterValue", "Invalid region provided: %s", name)
		}
	}

	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	var seen []types.Region
	for _, r := range regions {
		loc := location{c.location().account, r.name}
		if r.partition != partitionOf(c.Region) || len(in.RegionNames) > 0 && !slices.Contains(in.RegionNames, r.name) ||
			!aws.ToBool(in.AllRegions) && !w.isRegionEnabled(loc) {
			continue
		}
		seen = append(seen, types.Region{
			RegionName: aws.String(r.name), OptInStatus: aws.String(w.optInStatus(loc)), Endpoint: aws.String("ec2." + r.name +
				"." + domainOf(r.name)),
		})
	}

	seen, err := regionFilters.filter(seen, in.Filters)
	return &ec2.DescribeRegionsOutput{Regions: seen}, err
}

var regionFilters = filterFields[types.Region]{values: map[string]func(types.Region) []string{
	"endpoint":      func(r types.Region) []string { return []string{*r.Endpoint} },
	"opt-in-status": func(r types.Region) []string { return []string{*r.OptInStatus} },
	"region-name":   func(r types.Region) []string { return []string{*r.RegionName} },
}}

func (w *World) optInStatus(loc location) string {
	switch found, _ := findRegion(loc.region); {
	case !found.optIn:
		return "opt-in-not-required"
	case w.isRegionEnabled(loc):
		return "opted-in"
	}
	return "not-opted-in"
}

func (w *World) describeAvailabilityZones(
	c *Call, in *ec2.DescribeAvailabilityZonesInput,
) (*ec2.DescribeAvailabilityZonesOutput, error) {
	if err := refuseUnmodeled(in, "Filters", "ZoneNames", "AllAvailabilityZones"); err != nil {
		return nil, err
	}

	for _, name := range in.ZoneNames {
		if !slices.Contains(zonesOf(c.Region), name) {
			return nil, badRequest("InvalidParameterValue", "Invalid availability zone: [%s]", name)
		}
	}

	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	var seen []types.AvailabilityZone
	for _, name := range zonesOf(c.Region) {
		if len(in.ZoneNames) > 0 && !slices.Contains(in.ZoneNames, name) {
			continue
		}

		seen = append(seen, types.AvailabilityZone{
			ZoneName:           &name,
			ZoneId:             aws.String(zoneID(name)),
			RegionName:         &c.Region,
			GroupName:          &c.Region,
			NetworkBorderGroup: &c.Region,
			ZoneType:           aws.String("availability-zone"),
			State:              types.AvailabilityZoneStateAvailable,
			OptInStatus:        types.AvailabilityZoneOptInStatusOptInNotRequired,
		})
	}

	seen, err := zoneFilters.filter(seen, in.Filters)
	return &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: seen}, err
}

var zoneFilters = filterFields[types.AvailabilityZone]{values: map[string]func(types.AvailabilityZone) []string{
	"opt-in-status": func(z types.AvailabilityZone) []string { return []string{string(z.OptInStatus)} },
	"region-name":   func(z types.AvailabilityZone) []string { return []string{*z.RegionName} },
	"state":         func(z types.AvailabilityZone) []string { return []string{string(z.State)} },
	"zone-name":     func(z types.AvailabilityZone) []string { return []string{*z.ZoneName} },
	"zone-type":     func(z types.AvailabilityZone) []string { return []string{*z.ZoneType} },
}}

func (w *World) describeVpcs(c *Call, in *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	network := w.network(c.location())
	for _, id := range in.VpcIds {
		if id != network.vpc {
			return nil, badRequest("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", id)
		}
	}

	if network.vpc == "" {
		return &ec2.DescribeVpcsOutput{}, nil
	}

	vpcs := []types.Vpc{{
		VpcId:           &network.vpc,
		OwnerId:         aws.String(c.location().account),
		IsDefault:       aws.Bool(true),
		State:           types.VpcStateAvailable,
		CidrBlock:       aws.String("172.31.0.0/16"),
		InstanceTenancy: types.TenancyDefault,
		Tags:            w.tagsOf(network.vpc),
	}}

	return filterPage(vpcs, in.MaxResults, in.NextToken, in.Filters, vpcFilters,
		func(list []types.Vpc, next *string) *ec2.DescribeVpcsOutput {
			return &ec2.DescribeVpcsOutput{Vpcs: list, NextToken: next}
		})
}

var vpcFilters = filterFields[types.Vpc]{
	tags: func(v types.Vpc) []types.Tag { return v.Tags },
	values: map[string]func(types.Vpc) []string{
		"cidr":       func(v types.Vpc) []string { return []string{*v.CidrBlock} },
		"is-default": func(v types.Vpc) []string { return []string{strconv.FormatBool(*v.IsDefault)} },
		"isDefault":  func(v types.Vpc) []string { return []string{strconv.FormatBool(*v.IsDefault)} },
		"owner-id":   func(v types.Vpc) []string { return []string{*v.OwnerId} },
		"state":      func(v types.Vpc) []string { return []string{string(v.State)} },
		"vpc-id":     func(v types.Vpc) []string { return []string{*v.VpcId} },
	},
}

func (w *World) describeSubnets(c *Call, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	loc := c.location()
	network := w.network(loc)
	for _, id := range in.SubnetIds {
		if _, ok := network.findSubnet(id); !ok {
			return nil, badRequest("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
		}
	}

	var seen []types.Subnet
	for _, s := range network.subnets {
		if len(in.SubnetIds) > 0 && !slices.Contains(in.SubnetIds, s.id) {
			continue
		}

		seen = append(seen, types.Subnet{
			SubnetId:                &s.id,
			SubnetArn:               aws.String(ec2ARN(loc, "subnet/"+s.id)),
			VpcId:                   &network.vpc,
			OwnerId:                 &loc.account,
			AvailabilityZone:        &s.zone,
			AvailabilityZoneId:      aws.String(zoneID(s.zone)),
			CidrBlock:               &s.cidr,
			AvailableIpAddressCount: aws.Int32(4091),
			DefaultForAz:            aws.Bool(true),
			MapPublicIpOnLaunch:     aws.Bool(true),
			State:                   types.SubnetStateAvailable,
			Tags:                    w.tagsOf(s.id),
		})
	}

	return filterPage(seen, in.MaxResults, in.NextToken, in.Filters, subnetFilters,
		func(list []types.Subnet, next *string) *ec2.DescribeSubnetsOutput {
			return &ec2.DescribeSubnetsOutput{Subnets: list, NextToken: next}
		})
}

var subnetFilters = filterFields[types.Subnet]{
	tags: func(s types.Subnet) []types.Tag { return s.Tags },
	values: map[string]func(types.Subnet) []string{
		"availability-zone": func(s types.Subnet) []string { return []string{*s.AvailabilityZone} },
		"availabilityZone":  func(s types.Subnet) []string { return []string{*s.AvailabilityZone} },
		"default-for-az":    func(s types.Subnet) []string { return []string{strconv.FormatBool(*s.DefaultForAz)} },
		"owner-id":          func(s types.Subnet) []string { return []string{*s.OwnerId} },
		"state":             func(s types.Subnet) []string { return []string{string(s.State)} },
		"subnet-id":         func(s types.Subnet) []string { return []string{*s.SubnetId} },
		"vpc-id":            func(s types.Subnet) []string { return []string{*s.VpcId} },
	},
}

func (n *network) findSubnet(id string) (subnet, bool) {
	i := slices.IndexFunc(n.subnets, func(s subnet) bool { return s.id == id })
	if i < 0 {
		return subnet{}, false
	}
	return n.subnets[i], true
}

// defaultSubnet returns the default subnet of a zone, or of the first zone if zone is empty.
func (n *network) defaultSubnet(zone string) (subnet, bool) {
	i := slices.IndexFunc(n.subnets, func(s subnet) bool { return zone == "" || s.zone == zone })
	if i < 0 {
		return subnet{}, false
	}
	return n.subnets[i], true
}
