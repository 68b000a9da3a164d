// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// waits returns how long it takes until something succeeds, in seconds.
func waits(try func() error) time.Duration {
	began := time.Now()
	for time.Since(began) < time.Hour && try() != nil {
		time.Sleep(time.Second)
	}
	return time.Since(began)
}

// TestPropagation_shares covers rule 4.4.2.
// A recipient sees a share after a while; its owner at once; what is taken back is gone at once (4.4.2).
func TestPropagation_shares(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient := b.inLocation(member, home)
		seesSnapshot := func(id string) error {
			_, err := recipient.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}}, noRetries)
			return err
		}
		at := b.snapshot("")
		b.share(at)
		must(0, seesSnapshot(at))(b)

		WithPropagation(30 * time.Second)(b.world)
		var longest time.Duration
		for range 10 {
			id := b.snapshot("")
			b.share(id)
			attribute := ok(b.ec2.DescribeSnapshotAttribute(b.Context(), &ec2.DescribeSnapshotAttributeInput{
				SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			}))(b)
			is(b, "the permissions that the owner sees", len(attribute.CreateVolumePermissions), 1)
			longest = max(longest, waits(func() error { return seesSnapshot(id) }))
			b.share(id) // once more changes nothing
			must(0, seesSnapshot(id))(b)
		}
		if longest < 10*time.Second || longest > 31*time.Second {
			t.Errorf("the slowest share took %s", longest)
		}

		// Of an image too.
		longest = 0
		for range 5 {
			image := b.image("")
			b.shareImage(image)
			longest = max(longest, waits(func() error {
				out, err := recipient.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
				if err == nil && len(out.Images) == 0 {
					return errConnectionReset
				}
				return err
			}))
		}
		if longest < 5*time.Second || longest > 31*time.Second {
			t.Errorf("the slowest share of an image took %s", longest)
		}

		must(b.ec2.ModifySnapshotAttribute(b.Context(), &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &at, CreateVolumePermission: &types.CreateVolumePermissionModifications{Remove: []types.CreateVolumePermission{{UserId: aws.String(member)}}},
		}))(b)
		requireErrorCode(b, seesSnapshot(at), "InvalidSnapshot.NotFound")
	})
}

// TestPropagation_earlyCopy covers rule 4.4.2.
// A copy that comes before the share ends as if the snapshot were not there (4.4.2, 4.6.5).
func TestPropagation_earlyCopy(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient := b.inLocation(member, home)
		WithPropagation(10 * time.Minute)(b.world)
		id := b.snapshot("")
		b.share(id)
		copied := ok(recipient.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &id}))(b)
		seen := b.settled(recipient.ec2, *copied.SnapshotId)
		is(b, "how the copy ends", aws.ToString(seen.StateMessage), sourceNotFound)
	})
}

// TestPropagation_grants covers rule 4.4.4.
// A grant works after a while, and at once with its token (4.4.4, 8.8).
func TestPropagation_grants(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		WithPropagation(5 * time.Minute)(b.world)
		key := b.key()
		worker := b.user(owner, "worker")
		user := "arn:aws:iam::" + owner + ":user/worker"
		granted := ok(b.kms.CreateGrant(b.Context(), &kms.CreateGrantInput{
			KeyId: &key, GranteePrincipal: &user, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationGenerateDataKey},
		}))(b)
		use := func(tokens ...string) error {
			_, err := kms.NewFromConfig(worker, singly).GenerateDataKey(b.Context(), &kms.GenerateDataKeyInput{
				KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256, GrantTokens: tokens,
			})
			return err
		}
		requireErrorCode(b, use(), "AccessDeniedException")
		must(0, use(*granted.GrantToken))(b)
		if took := waits(func() error { return use() }); took < time.Second || took > 5*time.Minute {
			t.Errorf("the grant took %s", took)
		}
	})
}

// TestStaleRead_tags covers rule 4.4.1.
// A stale read misses the tags of the last minute, in each call that shows them (4.4.1).
func TestStaleRead_tags(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		snapshot := b.root(b.ec2, image)
		set := func(value string) {
			must(b.ec2.CreateTags(b.Context(), &ec2.CreateTagsInput{Resources: []string{image, snapshot}, Tags: []types.Tag{tag("k", value)}}))(b)
		}
		set("old")
		time.Sleep(time.Hour)
		first := func(tags []types.Tag) string {
			if len(tags) == 0 {
				return ""
			}
			return *tags[0].Value
		}
		reads := map[string]func() string{
			"ec2:DescribeImages": func() string {
				return first(ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}}))(b).Images[0].Tags)
			},
			"ec2:DescribeSnapshots": func() string {
				return first(ok(b.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}}))(b).Snapshots[0].Tags)
			},
			"ec2:DescribeTags": func() string {
				out := ok(b.ec2.DescribeTags(b.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{image}}}}))(b)
				if len(out.Tags) == 0 {
					return ""
				}
				return *out.Tags[0].Value
			},
		}
		set("new")
		set("newest")
		for action, read := range reads {
			is(b, action, read(), "newest")
			b.world.Inject(FaultRule{Fault: StaleRead, Action: action})
			is(b, "a stale "+action, read(), "old")
		}
		must(b.ec2.DeleteTags(b.Context(), &ec2.DeleteTagsInput{Resources: []string{image, snapshot}}))(b)
		time.Sleep(2 * time.Minute)
		for action, read := range reads {
			is(b, "after two minutes, a stale "+action, read(), "")
		}
	})
}

// TestStaleRead_describeTags covers rule 4.4.1.
// A stale DescribeTags misses new resources (4.4.1).
func TestStaleRead_describeTags(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		id := b.tagged("k", "v")
		b.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:DescribeTags"})
		is(b, "the tags of a new resource", len(b.tagsOf(id)), 0)
		time.Sleep(2 * time.Minute)
		is(b, "the tags after two minutes", len(b.tagsOf(id)), 1)
	})
}
