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

// waitUntilSuccess returns how many seconds it takes until a call succeeds.
func waitUntilSuccess(try func() error) time.Duration {
	began := time.Now()
	for time.Since(began) < time.Hour && try() != nil {
		time.Sleep(time.Second)
	}
	return time.Since(began)
}

// TestPropagation_shares covers rule 4.4.2. A recipient sees a share later than its owner. A revocation takes effect at
// once.
func TestPropagation_shares(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient := f.inLocation(member, home)
		seesSnapshot := func(id string) error {
			_, err := recipient.ec2.DescribeSnapshots(
				f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}}, withoutEC2Retries,
			)
			return err
		}

		at := f.createSnapshot("")
		f.shareSnapshot(at)
		requireNoError(0, seesSnapshot(at))(f)

		WithPropagation(30 * time.Second)(f.world)
		var longest time.Duration
		for range 10 {
			id := f.createSnapshot("")
			f.shareSnapshot(id)
			attribute := requireOutput(f.ec2.DescribeSnapshotAttribute(f.Context(), &ec2.DescribeSnapshotAttributeInput{
				SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			}))(f)
			expectEqual(f, "the permissions that the owner sees", len(attribute.CreateVolumePermissions), 1)
			longest = max(longest, waitUntilSuccess(func() error { return seesSnapshot(id) }))
			f.shareSnapshot(id) // repeating it changes nothing
			requireNoError(0, seesSnapshot(id))(f)
		}

		if longest < 10*time.Second || longest > 31*time.Second {
			t.Errorf("the slowest share took %s", longest)
		}

		// The same for an image.
		longest = 0
		for range 5 {
			image := f.createImage("")
			f.shareImage(image)
			longest = max(longest, waitUntilSuccess(func() error {
				out, err := recipient.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
				if err == nil && len(out.Images) == 0 {
					return errConnectionReset
				}
				return err
			}))
		}

		if longest < 5*time.Second || longest > 31*time.Second {
			t.Errorf("the slowest share of an image took %s", longest)
		}

		requireNoError(f.ec2.ModifySnapshotAttribute(f.Context(), &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &at, CreateVolumePermission: &types.CreateVolumePermissionModifications{
				Remove: []types.CreateVolumePermission{{UserId: aws.String(member)}},
			},
		}))(f)

		requireErrorCode(f, seesSnapshot(at), "InvalidSnapshot.NotFound")
	})
}

// TestPropagation_earlyCopy covers rule 4.4.2. A copy before the share takes effect fails as if the snapshot did not
// exist (rule 4.6.5).
func TestPropagation_earlyCopy(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient := f.inLocation(member, home)
		WithPropagation(10 * time.Minute)(f.world)
		id := f.createSnapshot("")
		f.shareSnapshot(id)
		copied := requireOutput(recipient.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: &id,
		}))(f)
		view := f.waitForSnapshot(recipient.ec2, *copied.SnapshotId)
		expectEqual(f, "how the copy ends", aws.ToString(view.StateMessage), sourceNotFound)
	})
}

// TestPropagation_grants covers rule 4.4.4. A grant takes effect later, or at once with its grant token (rule 8.8).
func TestPropagation_grants(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		WithPropagation(5 * time.Minute)(f.world)
		key := f.createKey()
		worker := f.createUser(owner, "worker")
		user := "arn:aws:iam::" + owner + ":user/worker"
		granted := requireOutput(f.kms.CreateGrant(f.Context(), &kms.CreateGrantInput{
			KeyId: &key, GranteePrincipal: &user, Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationGenerateDataKey},
		}))(f)

		use := func(tokens ...string) error {
			_, err := kms.NewFromConfig(worker, withoutKMSRetries).GenerateDataKey(f.Context(), &kms.GenerateDataKeyInput{
				KeyId: &key, KeySpec: kmstypes.DataKeySpecAes256, GrantTokens: tokens,
			})
			return err
		}

		requireErrorCode(f, use(), "AccessDeniedException")
		requireNoError(0, use(*granted.GrantToken))(f)
		if took := waitUntilSuccess(func() error { return use() }); took < time.Second || took > 5*time.Minute {
			t.Errorf("the grant took %s", took)
		}
	})
}

// TestStaleRead_tags covers rule 4.4.1. A stale read misses tags of the last minute in every call that shows tags.
func TestStaleRead_tags(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		snapshot := f.rootSnapshot(f.ec2, image)
		set := func(value string) {
			requireNoError(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
				Resources: []string{image, snapshot}, Tags: []types.Tag{tag("k", value)},
			}))(f)
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
				return first(requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
					ImageIds: []string{image},
				}))(f).Images[0].Tags)
			},
			"ec2:DescribeSnapshots": func() string {
				return first(requireOutput(f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
					SnapshotIds: []string{snapshot},
				}))(f).Snapshots[0].Tags)
			},
			"ec2:DescribeTags": func() string {
				out := requireOutput(f.ec2.DescribeTags(f.Context(), &ec2.DescribeTagsInput{
					Filters: []types.Filter{{Name: aws.String("resource-id"), Values: []string{image}}},
				}))(f)
				if len(out.Tags) == 0 {
					return ""
				}
				return *out.Tags[0].Value
			},
		}

		set("new")
		set("newest")
		for action, read := range reads {
			expectEqual(f, action, read(), "newest")
			f.world.Inject(FaultRule{Fault: StaleRead, Action: action})
			expectEqual(f, "a stale "+action, read(), "old")
		}

		requireNoError(f.ec2.DeleteTags(f.Context(), &ec2.DeleteTagsInput{Resources: []string{image, snapshot}}))(f)
		time.Sleep(2 * time.Minute)
		for action, read := range reads {
			expectEqual(f, "after two minutes, a stale "+action, read(), "")
		}
	})
}

// TestStaleRead_describeTags covers rule 4.4.1. A stale DescribeTags misses new resources.
func TestStaleRead_describeTags(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.createTaggedVolume("k", "v")
		f.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:DescribeTags"})
		expectEqual(f, "the tags of a new resource", len(f.tagsOf(id)), 0)
		time.Sleep(2 * time.Minute)
		expectEqual(f, "the tags after two minutes", len(f.tagsOf(id)), 1)
	})
}
