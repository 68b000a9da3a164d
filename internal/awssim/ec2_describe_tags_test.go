// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// countTags returns the number of tags that match the filters.
func (f fixture) countTags(pairs ...string) int {
	f.Helper()
	var filters []types.Filter
	for i := 0; i < len(pairs); i += 2 {
		filters = append(filters, types.Filter{Name: &pairs[i], Values: []string{pairs[i+1]}})
	}
	n := 0
	pages := ec2.NewDescribeTagsPaginator(f.ec2, &ec2.DescribeTagsInput{Filters: filters})
	for pages.HasMorePages() {
		n += len(requireOutput(pages.NextPage(f.Context()))(f).Tags)
	}
	return n
}

// TestDescribeTags_filters covers rule 4.3.4. DescribeTags has pages of at most 1,000 tags and the filters key,
// value, resource-id, resource-type and tag:<key>.
func TestDescribeTags_filters(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		first := f.createTaggedVolume("source", "ami-1", "run", "a*b")
		f.createTaggedVolume("source", "ami-12", "run", "axb")
		f.inLocation(member, home).createTaggedVolume("source", "ami-1")
		f.inLocation(owner, "eu-west-1")
		for _, row := range []struct {
			filters []string
			want    int
		}{
			{nil, 4},
			{[]string{"key", "source"}, 2},
			{[]string{"key", "source", "value", "ami-1"}, 1},
			{[]string{"value", "ami-1*"}, 2},
			{[]string{"value", "ami-1?"}, 1},
			{[]string{"value", "AMI-1"}, 0},
			{[]string{"value", "a*b"}, 2},
			{[]string{"value", `a\*b`}, 1},
			{[]string{"tag:source", "ami-1"}, 1},
			{[]string{"resource-id", first}, 2},
			{[]string{"resource-type", "volume"}, 4},
			{[]string{"resource-type", "snapshot"}, 0},
		} {
			expectEqual(f, fmt.Sprint(row.filters), f.countTags(row.filters...), row.want)
		}

		for _, name := range []string{"tag-key", "owner-id"} {
			_, err := f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{
				Filters: []types.Filter{{Name: &name, Values: []string{"x"}}},
			})
			requireErrorCode(f, err, "InvalidParameterValue")
		}
	})
}

// TestDescribeTags_pages covers rule 4.3.4. A page has at most 1,000 tags, even without MaxResults.
func TestDescribeTags_pages(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		err := f.world.Build(func(builder *Builder) error {
			builtBy := fixture{f.T, f.world, ec2.NewFromConfig(builder.Config(owner, home)), f.kms}
			for range 42 {
				var pairs []string
				for i := range maxTags {
					pairs = append(pairs, fmt.Sprint("key-", i), "v")
				}
				builtBy.createTaggedVolume(pairs...)
			}
			return nil
		})

		requireNoError(0, err)(f)
		first := requireOutput(f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{}))(f)
		expectEqual(f, "the tags of the first page", len(first.Tags), 1000)
		expectEqual(f, "the tags of all pages", f.countTags(), 42*maxTags)
		few := requireOutput(f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{MaxResults: aws.Int32(5)}))(f)
		expectEqual(f, "the tags of a short page", len(few.Tags), 5)
		_, err = f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{MaxResults: aws.Int32(4)})
		requireErrorCode(f, err, "InvalidParameterValue")
	})
}
