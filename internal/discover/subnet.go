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

// subnet finds the subnet of the launch check of a destination, if the template has filters for it.
func (s *survey) subnet(ctx context.Context, d distribution.Destination) {
	if d.Launch == nil || len(d.Launch.SubnetFilters) == 0 {
		return
	}
	found := s.findSubnet(ctx, d)
	s.keep(func(f *distribution.Facts) {
		site := f.Sites[d.At]
		site.Subnet = found
		f.Sites[d.At] = site
	})
}

// findSubnet returns the matching subnet with the most free addresses.
func (s *survey) findSubnet(ctx context.Context, d distribution.Destination) distribution.SubnetFacts {
	in := &ec2.DescribeSubnetsInput{}
	for _, name := range slices.Sorted(maps.Keys(d.Launch.SubnetFilters)) {
		in.Filters = append(
			in.Filters,
			ec2types.Filter{Name: aws.String(name), Values: []string{d.Launch.SubnetFilters[name]}},
		)
	}
	var best *ec2types.Subnet
	pages := ec2.NewDescribeSubnetsPaginator(s.pool.EC2(d.At), in)
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
		return distribution.SubnetFacts{}
	}
	return distribution.SubnetFacts{ID: aws.ToString(best.SubnetId)}
}

// compareSubnets sorts by free addresses, most first, then by id.
func compareSubnets(a, b ec2types.Subnet) int {
	return cmp.Or(
		cmp.Compare(aws.ToInt32(b.AvailableIpAddressCount), aws.ToInt32(a.AvailableIpAddressCount)),
		cmp.Compare(aws.ToString(a.SubnetId), aws.ToString(b.SubnetId)),
	)
}
