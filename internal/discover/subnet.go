// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// launch looks up what the launch check of a destination needs. RunInstances would report a missing subnet only after
// all copies.
func (s *survey) launch(ctx context.Context, d distribution.Destination) {
	if d.LaunchCheck == nil {
		return
	}
	subnet, instanceType := s.findSubnet(ctx, d), s.instanceType(ctx, d)
	s.keep(func(f *distribution.Facts) {
		site := f.Sites[d.At]
		site.Subnet, site.InstanceType = subnet, instanceType
		f.Sites[d.At] = site
	})
}

// subnetFilters returns the filters that find the subnets of a launch check. By default it is launched in a default
// subnet, which exists only in a default VPC.
func subnetFilters(launch *distribution.LaunchCheck) []ec2types.Filter {
	values := launch.SubnetFilters
	switch {
	case launch.SubnetID != "":
		values = map[string]string{"subnet-id": launch.SubnetID}
	case len(values) == 0:
		values = map[string]string{"default-for-az": "true"}
	}
	var filters []ec2types.Filter
	for _, name := range slices.Sorted(maps.Keys(values)) {
		filters = append(filters, ec2types.Filter{Name: aws.String(name), Values: []string{values[name]}})
	}
	return filters
}

// findSubnet returns the matching subnet with the most free addresses.
func (s *survey) findSubnet(ctx context.Context, d distribution.Destination) distribution.SubnetFacts {
	var best *ec2types.Subnet
	pages := ec2.NewDescribeSubnetsPaginator(
		s.pool.EC2(d.At), &ec2.DescribeSubnetsInput{Filters: subnetFilters(d.LaunchCheck)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return distribution.SubnetFacts{Err: awsclient.Refused("ec2:DescribeSubnets", err)}
		}
		for _, subnet := range page.Subnets {
			if subnet.State == ec2types.SubnetStateAvailable && (best == nil || compareSubnets(subnet, *best) < 0) {
				best = &subnet
			}
		}
	}
	if best == nil {
		return distribution.SubnetFacts{IsMissing: true}
	}
	isFull := best.AvailableIpAddressCount != nil && *best.AvailableIpAddressCount == 0
	return distribution.SubnetFacts{ID: aws.ToString(best.SubnetId), IsFull: isFull}
}

// compareSubnets sorts by free addresses, most first, then by id.
func compareSubnets(a, b ec2types.Subnet) int {
	return cmp.Or(
		cmp.Compare(aws.ToInt32(b.AvailableIpAddressCount), aws.ToInt32(a.AvailableIpAddressCount)),
		cmp.Compare(aws.ToString(a.SubnetId), aws.ToString(b.SubnetId)),
	)
}

// instanceType describes the instance type of a launch check. It uses a filter, because the name of a type that does
// not exist would be an error.
func (s *survey) instanceType(ctx context.Context, d distribution.Destination) distribution.InstanceTypeFacts {
	byType := ec2types.Filter{
		Name:   aws.String("instance-type"),
		Values: []string{literal(d.LaunchCheck.InstanceType)},
	}
	in := &ec2.DescribeInstanceTypesInput{Filters: []ec2types.Filter{byType}}
	out, err := s.pool.EC2(d.At).DescribeInstanceTypes(ctx, in)
	if err != nil {
		return distribution.InstanceTypeFacts{Err: awsclient.Refused("ec2:DescribeInstanceTypes", err)}
	}
	for _, info := range out.InstanceTypes {
		if string(info.InstanceType) == d.LaunchCheck.InstanceType {
			return distribution.InstanceTypeFacts{Info: &info}
		}
	}
	return distribution.InstanceTypeFacts{IsMissing: true}
}
