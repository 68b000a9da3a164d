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
)

// copyImage copies an image from the home Region and returns the new image ID.
func (f fixture) copyImage(client *ec2.Client, source string, changes ...func(*ec2.CopyImageInput)) (string, error) {
	in := &ec2.CopyImageInput{Name: aws.String("copied"), SourceRegion: aws.String(home), SourceImageId: &source}
	for _, change := range changes {
		change(in)
	}
	out, err := client.CopyImage(f.Context(), in)
	if err != nil {
		return "", err
	}
	return *out.ImageId, nil
}

func imageUnder(key string) func(*ec2.CopyImageInput) {
	return func(in *ec2.CopyImageInput) { in.Encrypted, in.KmsKeyId = aws.Bool(true), &key }
}

// TestCopyImage_emptyKey shows that an empty key ID means none. The amazon builder sends it when it copies to other
// Regions (ami_regions).
func TestCopyImage_emptyKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		copied := requireOutput(f.copyImage(f.ec2At(owner, away), f.createImage(""), func(in *ec2.CopyImageInput) {
			in.KmsKeyId = aws.String("")
		}))(f)
		if got := f.waitForImage(f.ec2At(owner, away), copied); got.State != types.ImageStateAvailable {
			t.Errorf("the copy is %s", got.State)
		}
	})
}

// TestCopyImage_snapshotsNotShared covers rule 2.2.8. A copy of a shared image needs launch permission, all snapshots
// and the key.
func TestCopyImage_snapshotsNotShared(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		data := f.createSnapshot("")
		image := f.createImage(f.createSharedKey(), func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data},
			})
		})

		others := f.ec2At(member, away)
		_, err := f.copyImage(others, image)
		requireErrorCode(t, err, "InvalidAMIID.NotFound")
		f.shareImage(image)
		for _, snapshot := range []string{f.rootSnapshot(f.ec2, image), data} {
			_, err := f.copyImage(others, image)
			requireError(t, err, "InvalidRequest", "You do not have permission to access the storage of this ami")
			f.shareSnapshot(snapshot)
		}

		key := f.createKeyIn(member, away)
		id := requireOutput(f.copyImage(others, image, imageUnder(key)))(f)
		got := f.waitForImage(others, id)
		if got.State != types.ImageStateAvailable {
			t.Fatalf("the copy is %s", got.State)
		}

		for _, device := range got.BlockDeviceMappings { // one key for all (1.4.12)
			if s := f.describeSnapshot(others, *device.Ebs.SnapshotId); *s.KmsKeyId != key || *s.OwnerId != member {
				t.Errorf("%s: %+v", *device.DeviceName, s)
			}
		}
	})
}

// TestCopyImage_unusableKey covers rule 1.8.5. CopyImage accepts a key that cannot be used, and the image fails without
// a useful reason (rule 1.7.7, Q1).
func TestCopyImage_unusableKey(t *testing.T) {
	for what, key := range map[string]func(f fixture) string{
		"missing (1.7.7)": func(fixture) string { return "golden" },
		"disabled": func(f fixture) string {
			key := f.createKey()
			requireOutput(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
			return key
		},
	} {
		t.Run(what, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				got := f.waitForImage(f.ec2, requireOutput(f.copyImage(f.ec2, f.createImage(""), imageUnder(key(f))))(f))
				if got.State != types.ImageStateFailed || got.StateReason == nil ||
					*got.StateReason.Message != "Copy image failed with an internal error" {
					t.Errorf("the copy is %s, %+v", got.State, got.StateReason)
				}
			})
		})
	}
}

// TestCopyImage_keepsImageAttributes covers rule 2.4. Launch permissions, tags, protection and deprecation are not
// copied.
func TestCopyImage_keepsImageAttributes(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := requireOutput(f.registerImage(f.ec2, f.createSnapshot(""), setAllAttributes))(f)
		f.shareImage(source)
		requireOutput(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
			Resources: []string{source}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		}))(f)

		requireOutput(f.ec2.EnableImageDeregistrationProtection(
			f.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: &source},
		))(f)

		requireOutput(f.ec2.EnableImageDeprecation(f.Context(), &ec2.EnableImageDeprecationInput{
			ImageId: &source, DeprecateAt: aws.Time(time.Now().Add(time.Hour)),
		}))(f)

		client := f.ec2At(owner, away)
		id := requireOutput(f.copyImage(client, source))(f)
		early := f.describeImage(client, id)
		if early.State != types.ImageStatePending || len(early.BlockDeviceMappings) != 0 {
			// rule 4.6.3: a pending copy of an image shows no devices yet
			t.Errorf("at first the copy is %s with %v", early.State, early.BlockDeviceMappings)
		}

		got := f.waitForImage(client, id)
		checkAllAttributes(t, got)
		if got.Description != nil || len(got.Tags) != 0 || *got.DeregistrationProtection != "disabled" ||
			got.DeprecationTime != nil || *got.SourceImageId != source || *got.SourceImageRegion != home { // 9.6
			t.Errorf("the copy is %+v", got)
		}

		permissions := requireOutput(client.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
			ImageId: &id, Attribute: types.ImageAttributeNameLaunchPermission,
		}))(f)

		data := requireOutput(client.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
			ImageId: &id, Attribute: types.ImageAttributeNameUefiData,
		}))(f)
		if len(permissions.LaunchPermissions) != 0 || aws.ToString(data.UefiData.Value) != "QU1aTlVFRkk=" {
			t.Errorf("permissions %v, UEFI data %v", permissions.LaunchPermissions, data.UefiData)
		}

		root := f.describeSnapshot(client, *got.BlockDeviceMappings[0].Ebs.SnapshotId)
		if *root.VolumeId != "vol-ffffffff" || *root.Description == "" {
			t.Errorf("the snapshot is %+v", root)
		}

		// rule 9.14: GetImageAncestry returns the chain of source images
		ancestry := requireOutput(client.GetImageAncestry(f.Context(), &ec2.GetImageAncestryInput{
			ImageId: &id,
		}))(f).ImageAncestryEntries
		if len(ancestry) != 2 || *ancestry[1].ImageId != source {
			t.Errorf("ancestry %v", ancestry)
		}
	})
}

// TestCopyImage_tags covers rules 2.4 and 9.13. CopyImageTags copies all tags of the caller's own image, but only
// shared tags of another account's image.
func TestCopyImage_tags(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		requireOutput(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{Resources: []string{image}, Tags: []types.Tag{
			{Key: aws.String("own"), Value: aws.String("1")}, {Key: aws.String("ec2:SharedTag/team"), Value: aws.String("2")},
		}}))(f)

		f.shareImage(image)
		f.shareSnapshot(f.rootSnapshot(f.ec2, image))
		others := f.ec2At(member, home)
		got := f.describeImage(others, image)
		if len(got.Tags) != 1 || *got.Tags[0].Key != "ec2:SharedTag/team" || got.DeregistrationProtection != nil {
			// rule 2.2.12: other accounts see neither tags nor deregistration protection
			t.Errorf("the recipient sees %v", got.Tags)
		}

		withTags := func(in *ec2.CopyImageInput) {
			in.CopyImageTags = aws.Bool(true)
			in.TagSpecifications = []types.TagSpecification{
				{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("asked"), Value: aws.String("3")}}},
				{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: aws.String("part"), Value: aws.String("4")}}},
			}
		}

		keys := func(tags []types.Tag) (all string) {
			for _, tag := range tags {
				all += *tag.Key + " "
			}
			return all
		}

		own := f.waitForImage(f.ec2, requireOutput(f.copyImage(f.ec2, image, withTags))(f))
		if keys(own.Tags) != "asked ec2:SharedTag/team own " ||
			keys(f.describeSnapshot(f.ec2, *own.BlockDeviceMappings[0].Ebs.SnapshotId).Tags) != "part " {
			t.Errorf("the owner's copy has %s", keys(own.Tags))
		}

		theirs := f.waitForImage(others, requireOutput(f.copyImage(others, image, withTags))(f))
		if keys(theirs.Tags) != "asked ec2:SharedTag/team " {
			t.Errorf("the recipient's copy has %s", keys(theirs.Tags))
		}
	})
}

// TestCopyImage_marketplaceImage covers rule 2.3.1. A Marketplace image cannot be copied to another account.
func TestCopyImage_marketplaceImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createMarketplaceImage()
		requireOutput(f.copyImage(f.ec2, image))(f)
		f.shareImage(image)
		f.shareSnapshot(f.rootSnapshot(f.ec2, image))
		_, err := f.copyImage(f.ec2At(member, home), image)
		requireError(t, err, "InvalidRequest", "Images from AWS Marketplace cannot be copied to another AWS account")
	})
}

// TestCopyImage_clientToken covers rule 4.2.3. A client token makes a call idempotent.
func TestCopyImage_clientToken(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		with := func(name string) func(*ec2.CopyImageInput) {
			return func(in *ec2.CopyImageInput) { in.Name, in.ClientToken = &name, aws.String("token") }
		}
		first := requireOutput(f.copyImage(f.ec2, image, with("one")))(f)
		again := requireOutput(f.copyImage(f.ec2, image, with("one")))(f)
		if first != again {
			t.Errorf("two copies: %s, %s", first, again)
		}
		_, err := f.copyImage(f.ec2, image, with("two"))
		requireErrorCode(t, err, "IdempotentParameterMismatch")
	})
}

// TestAllowedImages_hideImagesOfOthers covers rule 2.2.14. Allowed AMIs hides shared images that do not match, but
// never the account's own (rule 9.8).
func TestAllowedImages_hideImagesOfOthers(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		f.shareImage(image)
		f.shareSnapshot(f.rootSnapshot(f.ec2, image))
		others := f.ec2At(member, home)
		own := f.waitForImage(others, requireOutput(f.copyImage(others, image))(f))
		set := func(providers ...string) {
			requireOutput(others.ReplaceImageCriteriaInAllowedImagesSettings(f.Context(),
				&ec2.ReplaceImageCriteriaInAllowedImagesSettingsInput{
					ImageCriteria: []types.ImageCriterionRequest{{ImageProviders: providers}},
				}))(f)
		}

		look := func(id string) error {
			_, err := others.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
			return err
		}

		set("amazon")
		requireOutput(others.EnableAllowedImagesSettings(f.Context(), &ec2.EnableAllowedImagesSettingsInput{
			AllowedImagesSettingsState: types.AllowedImagesSettingsEnabledStateAuditMode,
		}))(f)

		if got := f.describeImage(others, image); *got.ImageAllowed {
			t.Error("in audit mode the image counts as allowed")
		}

		requireOutput(others.EnableAllowedImagesSettings(f.Context(), &ec2.EnableAllowedImagesSettingsInput{
			AllowedImagesSettingsState: types.AllowedImagesSettingsEnabledStateEnabled,
		}))(f)

		requireErrorCode(t, look(image), "InvalidAMIID.NotFound")
		_, err := f.copyImage(others, image)
		requireErrorCode(t, err, "InvalidAMIID.NotFound")
		if err := look(*own.ImageId); err != nil {
			t.Errorf("its own image: %v", err)
		}

		set("none")
		requireErrorCode(t, look(image), "InvalidAMIID.NotFound")
		set("amazon", owner)
		if err := look(image); err != nil {
			t.Errorf("an allowed image: %v", err)
		}
	})
}

// TestCopyImage_withoutCopySnapshotPermission covers rule 2.4.3. CopyImage does not need permission for
// CopySnapshot.
func TestCopyImage_withoutCopySnapshotPermission(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		root := f.rootSnapshot(f.ec2, image)
		requireOutput(f.copyImage(f.ec2At(owner, away), image))(f)
		var got []string
		for _, one := range f.world.Records().Calls("ec2:CopyImage")[0].Authorizations {
			if one.Action != "ec2:CopyImage" {
				t.Errorf("asked for %s", one.Action)
			}
			got = append(got, one.Resource)
		}

		for _, want := range []string{
			"arn:aws:ec2:us-west-2::image/*", "arn:aws:ec2:us-east-1::image/" + image, "arn:aws:ec2:us-east-1::snapshot/" + root,
			"arn:aws:ec2:us-west-2::snapshot/*",
		} {
			found := false
			for _, resource := range got {
				found = found || resource == want
			}
			if !found {
				t.Errorf("not asked for %s, but for %v", want, got)
			}
		}
	})
}
