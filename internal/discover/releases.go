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

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// filterValues is how many values one filter takes.
const filterValues = 200

// releases looks for images of any source image at a destination where older ones are to go.
func (s *survey) releases(ctx context.Context, d distribution.Destination) {
	if !d.Retention.On() {
		return
	}
	found, err := images(ctx, s.pool.EC2(d.At), ec2types.Filter{Name: aws.String("tag:" + origin.Source), Values: []string{s.facts.Source.Account + "/*"}})
	if err != nil {
		s.lookupFailed(d.At, "", "ec2:DescribeImages", err)
	}
	s.keep(func(f *distribution.Facts) {
		if f.Releases == nil {
			f.Releases = map[distribution.Location][]ec2types.Image{}
		}
		f.Releases[d.At] = found
	})
}

// sources looks at what the releases were made of, each once.
func (s *survey) sources(ctx context.Context) {
	wanted := map[string][]string{} // Region -> images
	for _, found := range s.facts.Releases {
		for _, image := range found {
			for _, tag := range image.Tags {
				if mark, is := origin.ParseSource(aws.ToString(tag.Value)); is && aws.ToString(tag.Key) == origin.Source && mark.Account == s.facts.Source.Account && s.facts.HasRegion(mark.Region) {
					wanted[mark.Region] = append(wanted[mark.Region], mark.ImageID)
				}
			}
		}
	}
	s.facts.Sources = map[string]ec2types.Image{}
	for _, region := range slices.Sorted(maps.Keys(wanted)) {
		at := distribution.Location{Account: s.facts.Source.Account, Region: region}
		slices.Sort(wanted[region])
		for ids := range slices.Chunk(slices.Compact(wanted[region]), filterValues) {
			found, err := images(ctx, s.pool.EC2(at), ec2types.Filter{Name: aws.String("image-id"), Values: ids})
			if err != nil {
				s.lookupFailed(at, "", "ec2:DescribeImages", err)
			}
			for _, image := range found {
				s.facts.Sources[aws.ToString(image.ImageId)] = image
			}
		}
	}
}

// images are the account's own that pass a filter, sorted by id.
func images(ctx context.Context, client *ec2.Client, filter ec2types.Filter) (found []ec2types.Image, err error) {
	pages := ec2.NewDescribeImagesPaginator(client, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []ec2types.Filter{filter}, IncludeDisabled: aws.Bool(true), IncludeDeprecated: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return found, err
		}
		found = append(found, page.Images...)
	}
	slices.SortFunc(found, func(a, b ec2types.Image) int { return cmp.Compare(*a.ImageId, *b.ImageId) })
	return found, nil
}
