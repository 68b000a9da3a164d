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

// createTaggedVolume creates a volume with tags.
func (f fixture) createTaggedVolume(pairs ...string) string {
	f.Helper()
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)}
	if len(tags) > 0 {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVolume, Tags: tags}}
	}
	return *requireOutput(f.ec2.CreateVolume(f.Context(), in))(f).VolumeId
}

// tagsOf returns the tags of a volume.
func (f fixture) tagsOf(id string) map[string]string {
	f.Helper()
	out := requireOutput(f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{
		Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{id}}},
	}))(f)
	tags := map[string]string{}
	for _, tag := range out.Tags {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

func TestTagger_copiesWhatItHasSeen(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithTagger(owner, 0.5)(f.world)
		other := f.inLocation(member, home)
		foreign := other.createTaggedVolume("secret", "of the member")
		first := f.createTaggedVolume("run", "1", "signature", "abc")
		requireNoError(f.ec2.DeleteTags(f.Context(), &ec2.DeleteTagsInput{Resources: []string{first}}))(f)
		second := f.createTaggedVolume()
		for range 100 {
			time.Sleep(time.Minute) // for the token bucket
			requireNoError(f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
		}

		// The deleted tags are back, also on another resource. Tags of another account are not.
		for _, id := range []string{first, second} {
			tags := f.tagsOf(id)
			expectEqual(f, "the signature of "+id, tags["signature"], "abc")
			expectEqual(f, "the run of "+id, tags["run"], "1")
			expectEqual(f, "the number of tags of "+id, len(tags), 2)
		}

		expectEqual(f, "the number of tags in the other account", len(other.tagsOf(foreign)), 1)

		written := f.world.Records().Calls("ec2:CreateTags")
		expectEqual(f, "the principal", written[0].Principal, "arn:aws:iam::"+owner+":role/tagger")
		if got := f.world.Counts().ForeignTags; got < len(written) {
			t.Errorf("%d tags counted in %d calls", got, len(written))
		}
	})
}

// TestTagger_tagLimit shows that an automation cannot exceed 50 tags.
func TestTagger_tagLimit(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithTagger(owner, 1)(f.world)
		pairs := func(prefix string) (all []string) {
			for i := range 30 {
				all = append(all, fmt.Sprint(prefix, i), "v")
			}
			return all
		}

		first := f.createTaggedVolume(pairs("first-")...)
		requireNoError(f.ec2.DeleteVolume(f.Context(), &ec2.DeleteVolumeInput{VolumeId: &first}))(f)
		second := f.createTaggedVolume(pairs("second-")...)
		for range 500 {
			time.Sleep(time.Minute) // for the token bucket
			requireNoError(f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
		}

		if got := len(f.tagsOf(second)); got <= 30 || got > maxTags {
			t.Errorf("%d tags, want some of the other 30, and at most %d in all", got, maxTags)
		}
	})
}

// TestTagger_seesWhatWasBuilt shows that an automation knows tags of resources that were built before the test.
func TestTagger_seesWhatWasBuilt(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithTagger(owner, 1)(f.world)
		err := f.world.Build(func(builder *Builder) error {
			fixture{f.T, f.world, ec2.NewFromConfig(builder.Config(owner, home)), f.kms}.createTaggedVolume("built", "yes")
			return nil
		})
		requireNoError(0, err)(f)
		fresh := f.createTaggedVolume()
		for range 20 {
			requireNoError(f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
		}
		expectEqual(f, "the tag of the fresh volume", f.tagsOf(fresh)["built"], "yes")
	})
}
