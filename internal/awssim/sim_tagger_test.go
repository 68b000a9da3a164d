// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// tagged creates a volume with tags.
func (b fixture) tagged(pairs ...string) string {
	b.Helper()
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)}
	if len(tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tags}}
	}
	return *ok(b.ec2.CreateVolume(b.Context(), in))(b).VolumeId
}

// tagsOf are the tags of a volume.
func (b fixture) tagsOf(id string) map[string]string {
	b.Helper()
	out := ok(b.ec2.DescribeTags(b.Context(), &ec2.DescribeTagsInput{
		Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{id}}},
	}))(b)
	tags := map[string]string{}
	for _, tag := range out.Tags {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

func TestTagger_copiesWhatItHasSeen(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		WithTagger(owner, 0.5)(b.world)
		other := b.inLocation(member, home)
		foreign := other.tagged("secret", "of the member")
		first := b.tagged("run", "1", "signature", "abc")
		must(b.ec2.DeleteTags(b.Context(), &ec2.DeleteTagsInput{Resources: []string{first}}))(b)
		second := b.tagged()
		for range 100 {
			time.Sleep(time.Minute) // for the token bucket
			must(b.ec2.DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{}))(b)
		}

		// The tags that were deleted are back, on another resource too; those of another account are not.
		for _, id := range []string{first, second} {
			tags := b.tagsOf(id)
			is(b, "the signature of "+id, tags["signature"], "abc")
			is(b, "the run of "+id, tags["run"], "1")
			is(b, "the number of tags of "+id, len(tags), 2)
		}
		is(b, "the number of tags in the other account", len(other.tagsOf(foreign)), 1)

		written := b.world.Records().Calls("ec2:CreateTags")
		is(b, "the principal", written[0].Principal, "arn:aws:iam::"+owner+":role/tagger")
		if got := b.world.Counts().ForeignTags; got < len(written) {
			t.Errorf("%d tags counted in %d calls", got, len(written))
		}
	})
}

// A resource has at most 50 tags, whoever writes them.
func TestTagger_tagLimit(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		WithTagger(owner, 1)(b.world)
		pairs := func(prefix string) (all []string) {
			for i := range 30 {
				all = append(all, fmt.Sprint(prefix, i), "v")
			}
			return all
		}
		first := b.tagged(pairs("first-")...)
		must(b.ec2.DeleteVolume(b.Context(), &ec2.DeleteVolumeInput{VolumeId: &first}))(b)
		second := b.tagged(pairs("second-")...)
		for range 500 {
			time.Sleep(time.Minute) // for the token bucket
			must(b.ec2.DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{}))(b)
		}
		if got := len(b.tagsOf(second)); got <= 30 || got > maxTags {
			t.Errorf("%d tags, want some of the other 30, and at most %d in all", got, maxTags)
		}
	})
}

// Tags from before the tests began are seen, because an automation lists them.
func TestTagger_seesWhatWasBuilt(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		WithTagger(owner, 1)(b.world)
		err := b.world.Build(func(builder *Builder) error {
			fixture{b.T, b.world, ec2.NewFromConfig(builder.Config(owner, home)), b.kms}.tagged("built", "yes")
			return nil
		})
		must(0, err)(b)
		fresh := b.tagged()
		for range 20 {
			must(b.ec2.DescribeRegions(b.Context(), &ec2.DescribeRegionsInput{}))(b)
		}
		is(b, "the tag of the fresh volume", b.tagsOf(fresh)["built"], "yes")
	})
}
