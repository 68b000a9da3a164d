// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func tag(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }

func TestTags_createUpdateFindDelete(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.createSnapshot("")
		set := func(tags ...types.Tag) error {
			_, err := f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: tags})
			return err
		}

		drop := func(tags ...types.Tag) {
			requireOutput(f.ec2.DeleteTags(f.Context(), &ec2.DeleteTagsInput{Resources: []string{id}, Tags: tags}))(f)
		}

		view := func() string {
			var all []string
			for _, one := range f.describeSnapshot(f.ec2, id).Tags {
				all = append(all, *one.Key+"="+*one.Value)
			}
			return strings.Join(all, " ")
		}

		for _, step := range []struct {
			do   func()
			want string
		}{
			{func() { requireOutput(0, set(tag("b", "1"), tag("a", "2")))(f) }, "a=2 b=1"},
			{func() { requireOutput(0, set(tag("b", "3")))(f) }, "a=2 b=3"},
			{func() { drop(tag("b", "other")) }, "a=2 b=3"},
			{func() { drop(tag("b", "3")) }, "a=2"},
			{func() { drop(types.Tag{Key: aws.String("a")}) }, ""},
		} {
			if step.do(); view() != step.want {
				t.Errorf("the tags are %q, want %q", view(), step.want)
			}
		}

		requireOutput(0, set(tag("k", "v")))(f)
		found := requireOutput(f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{
			Filters: []types.Filter{{Name: aws.String("key"), Values: []string{"k"}}},
		}))(f).Tags
		if len(found) != 1 || *found[0].ResourceId != id || found[0].ResourceType != types.ResourceTypeSnapshot {
			t.Errorf("described: %v", found)
		}
	})
}

func TestTags_invalid(t *testing.T) {
	var many []types.Tag
	for n := range 51 {
		many = append(many, tag(fmt.Sprint(n), ""))
	}

	for what, row := range map[string]struct {
		tags []types.Tag
		code string
	}{
		"reserved": {
			[]types.Tag{tag("aws:x", "")}, "InvalidParameterValue",
		}, "no key": {[]types.Tag{tag("", "")}, "InvalidParameterValue"},
		"long key": {[]types.Tag{tag(strings.Repeat("k", 129), "")}, "InvalidParameterValue"}, "long value": {
			[]types.Tag{tag("k", strings.Repeat("v", 257))}, "InvalidParameterValue",
		},
		"too many": {many, "TagLimitExceeded"},
	} {
		t.Run(what, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				id := f.createSnapshot("")
				_, err := f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: row.tags})
				requireErrorCode(t, err, row.code)
				_, err = f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
					SourceRegion: aws.String(home), SourceSnapshotId: &id, TagSpecifications: []types.TagSpecification{
						{ResourceType: types.ResourceTypeSnapshot, Tags: row.tags},
					},
				})
				requireErrorCode(t, err, row.code)
			})
		})
	}
}

// TestTags_ofRecipient covers rules 2.1.8 and B.7.2. Owner and recipient can both tag a shared snapshot, and each sees
// only its own tags. A snapshot that is not shared cannot be tagged.
func TestTags_ofRecipient(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id, theirs := f.createSnapshot(""), f.ec2At(member, home)
		tagAs := func(client *ec2.Client, value string) error {
			_, err := client.CreateTags(f.Context(), &ec2.CreateTagsInput{
				Resources: []string{id}, Tags: []types.Tag{tag("who", value)},
			})
			return err
		}

		requireErrorCode(t, tagAs(theirs, "recipient"), "InvalidSnapshot.NotFound")
		f.shareSnapshot(id)
		for _, err := range []error{tagAs(f.ec2, "owner"), tagAs(theirs, "recipient")} {
			if err != nil {
				t.Fatal(err)
			}
		}

		for client, want := range map[*ec2.Client]string{f.ec2: "owner", theirs: "recipient"} {
			tags := f.describeSnapshot(client, id).Tags
			if len(tags) != 1 || *tags[0].Value != want {
				t.Errorf("the %s sees %d tags: %+v", want, len(tags), tags)
			}
			listed := requireOutput(client.DescribeTags(f.Context(), &ec2.DescribeTagsInput{}))(f).Tags
			if len(listed) != 1 || *listed[0].Value != want {
				t.Errorf("DescribeTags of the %s returns %+v", want, listed)
			}
		}
	})
}
