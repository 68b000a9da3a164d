// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// filterValues is the maximum number of values of one filter.
const filterValues = 200

// releases looks up the images of all source images at a destination, if older releases are deleted there or their
// usage is requested.
func (s *survey) releases(ctx context.Context, d distribution.Destination) {
	if !d.Retention.On() && !s.req.Usage {
		return
	}
	found, err := images(
		ctx,
		s.pool.EC2(d.At),
		ec2types.Filter{Name: aws.String("tag:" + provenance.TagSource), Values: []string{s.facts.Source.Account + "/*"}},
	)
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

// sources looks up the source images of older releases, and of existing images that have a destination's name or are
// published. Their tags have the signing keys and the order of the releases.
func (s *survey) sources(ctx context.Context) {
	wanted := map[string][]string{} // Region -> images
	add := func(image ec2types.Image) {
		source, ok := provenance.ParseSourceImage(distribution.TagMap(image.Tags)[provenance.TagSource])
		if ok && source.Account == s.facts.Source.Account && s.facts.HasRegion(source.Region) {
			wanted[source.Region] = append(wanted[source.Region], source.ImageID)
		}
	}
	for _, found := range s.facts.Releases {
		for _, image := range found {
			add(image)
		}
	}
	for _, images := range s.facts.Published {
		for _, image := range images {
			add(image)
		}
	}
	for _, site := range s.facts.Sites {
		if site.NameUsed != nil {
			add(*site.NameUsed)
		}
	}

	s.facts.Sources = map[provenance.SourceImage]ec2types.Image{}
	for _, region := range slices.Sorted(maps.Keys(wanted)) {
		at := distribution.Location{Account: s.facts.Source.Account, Region: region}
		found, err := imagesByID(ctx, s.pool.EC2(at), wanted[region])
		if err == nil {
			found = append(found, s.retiredSources(ctx, at, wanted[region], found)...)
		}
		if err != nil {
			s.lookupFailed(at, "", "ec2:DescribeImages", err)
		}
		for _, image := range found {
			source := provenance.SourceImage{Account: at.Account, Region: region, ImageID: aws.ToString(image.ImageId)}
			s.facts.Sources[source] = image
		}
	}
}

// retiredSources returns the source images that source_retention deregistered, with the tags that prove their copies.
// Without these tags, no run could prove who created the copies, and they would stay forever.
func (s *survey) retiredSources(
	ctx context.Context, at distribution.Location, wanted []string, found []ec2types.Image,
) (retired []ec2types.Image) {
	var names []string
	for _, id := range sortedSet(wanted) {
		exists := slices.ContainsFunc(found, func(image ec2types.Image) bool { return aws.ToString(image.ImageId) == id })
		if !exists {
			names = append(names, provenance.RetiredSourceName(id))
		}
	}

	for chunk := range slices.Chunk(names, namesPerCall) {
		out, err := s.pool.SSM(at).GetParameters(ctx, &ssm.GetParametersInput{
			Names:          chunk,
			WithDecryption: aws.Bool(true),
		})
		if err != nil {
			if s.req.SourceRetention.On() { // without the option, the permission is optional
				s.lookupFailed(at, "", "ssm:GetParameters", err)
			}
			return retired
		}
		for _, stored := range out.Parameters {
			image := ec2types.Image{
				ImageId: aws.String(strings.TrimPrefix(aws.ToString(stored.Name), provenance.RetiredSourcePath)),
			}
			for key, value := range provenance.ParseRetiredSource(aws.ToString(stored.Value)) {
				image.Tags = append(image.Tags, ec2types.Tag{Key: aws.String(key), Value: aws.String(value)})
			}
			retired = append(retired, image)
		}
	}
	return retired
}

// namesPerCall is the number of names that one call of GetParameters takes (rule 7.7).
const namesPerCall = 10

// sourceReleases looks for the source images of the image family.
func (s *survey) sourceReleases(ctx context.Context) {
	if !s.req.SourceRetention.On() {
		return
	}
	s.facts.SourceReleases = map[string][]ec2types.Image{}
	for _, source := range s.req.Images {
		at := distribution.Location{Account: s.facts.Source.Account, Region: source.Region}
		found, err := images(ctx, s.pool.EC2(at), ec2types.Filter{
			Name: aws.String("tag:" + provenance.TagImageFamily), Values: []string{literal(s.req.ImageFamily)},
		})
		if err != nil {
			s.lookupFailed(at, "", "ec2:DescribeImages", err)
		}
		s.facts.SourceReleases[source.Region] = found
	}
}

// images returns the account's own images that match a filter, sorted by ID.
func images(ctx context.Context, client *ec2.Client, filter ec2types.Filter) (found []ec2types.Image, err error) {
	pages := ec2.NewDescribeImagesPaginator(
		client,
		&ec2.DescribeImagesInput{
			Owners:            []string{"self"},
			Filters:           []ec2types.Filter{filter},
			IncludeDisabled:   aws.Bool(true),
			IncludeDeprecated: aws.Bool(true),
		},
	)
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
