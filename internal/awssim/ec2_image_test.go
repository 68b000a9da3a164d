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

// seller is the account that AWS Marketplace sells images from.
const seller = "679593333241"

// vendorImage makes a public image of an account that may name billing products.
func (b fixture) vendorImage(account string, products ...string) string {
	b.Helper()
	client := b.at(account, home)
	volume := ok(client.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8)}))(b)
	time.Sleep(time.Minute)
	root := ok(client.CreateSnapshot(b.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(b)
	b.settled(client, *root.SnapshotId)
	image := ok(client.RegisterImage(b.Context(), &ec2.RegisterImageInput{
		Name: aws.String("vendor's"), RootDeviceName: aws.String("/dev/sda1"), VirtualizationType: aws.String("hvm"), Architecture: types.ArchitectureValuesX8664,
		EnaSupport: aws.Bool(true), BillingProducts: products,
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: root.SnapshotId}}},
	}))(b)
	ok(client.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: image.ImageId, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(owner)}, {UserId: aws.String(member)}}},
	}))(b)
	return *image.ImageId
}

// rebuilt launches an image as the owner and makes an image of the instance.
func (b fixture) rebuilt(image string, changes ...func(*ec2.CreateImageInput)) string {
	b.Helper()
	id := b.launch(b.ec2, image)
	time.Sleep(time.Minute)
	in := &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("image of " + id)}
	for _, change := range changes {
		change(in)
	}
	return *b.settledImage(b.ec2, *ok(b.ec2.CreateImage(b.Context(), in))(b).ImageId).ImageId
}

// marketplaceImage is an image of the owner that was built on one from AWS Marketplace.
func (b fixture) marketplaceImage() string { return b.rebuilt(b.vendorImage(seller, "code")) }

// TestCreateImage_keepsVolumeKeys covers rule 1.2.1.
// An image made of an instance has its volumes' keys; the request cannot change them (1.2.1, 1.2.2).
func TestCreateImage_keepsVolumeKeys(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		made := b.rebuilt(b.image(key))
		if root := b.seen(b.ec2, b.root(b.ec2, made)); *root.KmsKeyId != key {
			t.Errorf("the new snapshot is under %s, want %s", *root.KmsKeyId, key)
		}
		ok(b.ec2.EnableEbsEncryptionByDefault(b.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(b)
		byDefault := b.rebuilt(b.image(""))
		if root := b.seen(b.ec2, b.root(b.ec2, byDefault)); aws.ToString(root.KmsKeyId) != b.managedKey(owner, home) {
			t.Errorf("with encryption by default the new snapshot is under %q", aws.ToString(root.KmsKeyId))
		}
	})
}

// TestCreateImage_cannotEncryptVolume covers rule 1.2.1.
func TestCreateImage_cannotEncryptVolume(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		id := b.launch(b.ec2, b.image(""))
		time.Sleep(time.Minute)
		for _, encrypted := range []bool{true, false} {
			_, err := b.ec2.CreateImage(b.Context(), &ec2.CreateImageInput{
				InstanceId: &id, Name: aws.String(fmt.Sprint("image ", encrypted)), BlockDeviceMappings: []types.BlockDeviceMapping{
					{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{Encrypted: &encrypted}},
				},
			})
			if encrypted {
				requireErrorCode(t, err, "InvalidBlockDeviceMapping")
			} else if err != nil {
				t.Error(err)
			}
		}
	})
}

// TestDescribeImages_showsEncryptionWithoutKey covers rule 1.2.4.
// An image tells for each device whether it is encrypted, not under which key; it may mix both (1.2.3, 1.2.4).
func TestDescribeImages_showsEncryptionWithoutKey(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		data := b.snapshot("")
		image := b.image(b.key(), func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data}})
		})
		for _, device := range b.seenImage(b.ec2, image).BlockDeviceMappings {
			if device.Ebs.KmsKeyId != nil || *device.Ebs.Encrypted != (*device.DeviceName == "/dev/sda1") {
				t.Errorf("%s: %+v", *device.DeviceName, *device.Ebs)
			}
		}
	})
}

// TestDeregisterImage_imageUnavailable covers rule 2.5.9.
func TestDeregisterImage_imageUnavailable(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		ok(b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &image}))(b)
		if left := ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}}))(b).Images; len(left) != 0 {
			t.Errorf("it is still described: %v", left)
		}
		_, err := b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &image})
		requireErrorCode(t, err, "InvalidAMIID.Unavailable")
	})
}

// TestDeleteSnapshot_inUse covers rule 2.5.8.
func TestDeleteSnapshot_inUse(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		data := b.snapshot("")
		image := b.image("", func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data}})
		})
		_, err := b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &data, DryRun: aws.Bool(true)})
		requireErrorCode(t, err, "DryRunOperation")
		_, err = b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &data})
		requireError(t, err, "InvalidSnapshot.InUse", "The snapshot "+data+" is currently in use by "+image)
	})
}

// TestDeregisterImage_deletesSnapshots covers rule 9.11.
// DeleteAssociatedSnapshots deletes what no other image uses, and tells how each went (9.11).
func TestDeregisterImage_deletesSnapshots(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		shared := b.snapshot("")
		withShared := func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &shared}})
		}
		first, second := b.image("", withShared), b.image("", withShared)
		root := b.root(b.ec2, first)
		want := map[string]types.SnapshotReturnCodes{root: types.SnapshotReturnCodesSuccess, shared: types.SnapshotReturnCodesWarnSkipped}
		got := ok(b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &first, DeleteAssociatedSnapshots: aws.Bool(true)}))(b).DeleteSnapshotResults
		for _, one := range got {
			if one.ReturnCode != want[*one.SnapshotId] {
				t.Errorf("%s: %s", *one.SnapshotId, one.ReturnCode)
			}
		}
		if len(got) != 2 {
			t.Errorf("results %v", got)
		}
		b.seenImage(b.ec2, second)
		b.seen(b.ec2, shared)
		_, err := b.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{root}})
		requireErrorCode(t, err, "InvalidSnapshot.NotFound")
	})
}

// TestDeregisterImage_protected covers rules 9.5 and A.2.1.
func TestDeregisterImage_protected(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		deregister := func() error {
			_, err := b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &image})
			return err
		}
		protect := func(cooldown bool) string {
			return *ok(b.ec2.EnableImageDeregistrationProtection(b.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: &image, WithCooldown: &cooldown}))(b).Return
		}
		lift := func() {
			ok(b.ec2.DisableImageDeregistrationProtection(b.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: &image}))(b)
		}
		shown := func() string { return *b.seenImage(b.ec2, image).DeregistrationProtection }
		if got := shown(); got != "disabled" {
			t.Errorf("a new image is %s (2.5.6)", got)
		}
		if got := protect(false); got != "enabled-without-cooldown" || shown() != got { // A.2.4
			t.Errorf("protected: %s, %s", got, shown())
		}
		requireErrorCode(t, deregister(), "OperationNotPermitted")
		lift()
		if got := shown(); got != "disabled" { // A.2.5: without a cooldown at once
			t.Errorf("lifted: %s", got)
		}
		if got := protect(true); got != "enabled-with-cooldown" {
			t.Errorf("protected with a cooldown: %s", got)
		}
		lift()
		if got := shown(); len(got) < 15 || got[:15] != "disabled after " { // A.2.3
			t.Errorf("in the cooldown: %s", got)
		}
		requireErrorCode(t, deregister(), "OperationNotPermitted")
		time.Sleep(24 * time.Hour)
		if err := deregister(); err != nil {
			t.Errorf("a day later: %v", err)
		}
	})
}

// TestDisableImage_effects covers rule 9.2.
func TestDisableImage_effects(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		b.shareImage(image)
		ok(b.ec2.DisableImage(b.Context(), &ec2.DisableImageInput{ImageId: &image}))(b)
		if got := ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(b).Images; len(got) != 0 {
			t.Errorf("it is listed: %v", got)
		}
		if got := ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDisabled: aws.Bool(true)}))(b).Images; len(got) != 1 || got[0].State != types.ImageStateDisabled {
			t.Errorf("with the disabled ones: %v", got)
		}
		_, err := b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(member)}}},
		})
		requireErrorCode(t, err, "InvalidAMIID.Unavailable")
		ok(b.ec2.EnableImage(b.Context(), &ec2.EnableImageInput{ImageId: &image}))(b)
		if got := ok(b.at(member, home).DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}}))(b).Images; len(got) != 0 {
			t.Error("enabled again, the recipient sees it: the permissions came back")
		}
	})
}

// TestDescribeImages_deprecated covers rule 9.21.
func TestDescribeImages_deprecated(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		b.shareImage(image)
		deprecate := func(at time.Time) error {
			_, err := b.ec2.EnableImageDeprecation(b.Context(), &ec2.EnableImageDeprecationInput{ImageId: &image, DeprecateAt: &at})
			return err
		}
		requireErrorCode(t, deprecate(time.Now().Add(-time.Hour)), "InvalidParameterValue")
		requireErrorCode(t, deprecate(time.Now().AddDate(10, 1, 0)), "InvalidParameterValue")
		if err := deprecate(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		listed := func(account string, deprecated bool) int {
			return len(ok(b.at(account, home).DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{owner}, IncludeDeprecated: &deprecated}))(b).Images)
		}
		if listed(member, false) != 1 {
			t.Error("it is not listed before its day")
		}
		time.Sleep(2 * time.Hour)
		if listed(member, false) != 0 || listed(member, true) != 1 || listed(owner, false) != 1 {
			t.Errorf("after its day the recipient lists %d, with the deprecated %d, the owner %d", listed(member, false), listed(member, true), listed(owner, false))
		}
		b.launch(b.at(member, home), image)
	})
}

// TestEC2_malformedIDs covers rule 2.5.10.
func TestEC2_malformedIDs(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		for id, code := range map[string]string{
			"": "MissingParameter", "nope": "InvalidAMIID.Malformed", "ami-00000000000000000": "InvalidAMIID.Malformed", "ami-11111111111111111": "InvalidAMIID.Malformed",
			"ami-0ffffffffffffffff": "InvalidAMIID.NotFound", "ami-01234567": "InvalidAMIID.NotFound",
		} {
			_, err := b.at(owner, home).DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
			requireErrorCode(t, err, code)
		}
		for id, code := range map[string]string{
			"nope": "InvalidParameterValue", "snap-00000000000000000": "InvalidSnapshotID.Malformed", "snap-0ffffffffffffffff": "InvalidSnapshot.NotFound", "snap-00000000": "InvalidSnapshot.NotFound",
		} {
			_, err := b.at(owner, home).DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			requireErrorCode(t, err, code)
			_, err = b.at(owner, home).DescribeSnapshotAttribute(b.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission})
			requireErrorCode(t, err, code)
			_, err = b.at(owner, home).CreateVolume(b.Context(), &ec2.CreateVolumeInput{SnapshotId: &id, AvailabilityZone: aws.String(home + "a"), DryRun: aws.Bool(true)})
			requireErrorCode(t, err, code)
		}
	})
}

func TestDescribeImages_owners(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		own, amazons := b.image(""), b.vendorImage("137112412989")
		for owner, want := range map[string]string{"self": own, "111111111111": own, "amazon": amazons, "137112412989": amazons} {
			got := ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{owner}}))(b).Images
			if len(got) != 1 || *got[0].ImageId != want {
				t.Errorf("owner %s: %v", owner, got)
			}
		}
		for user, want := range map[string]int{"self": 1, "all": 0, member: 0} {
			if got := ok(b.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ExecutableUsers: []string{user}}))(b).Images; len(got) != want {
				t.Errorf("executable by %s: %v", user, got)
			}
		}
	})
}

// TestDescribeImages_pages covers rules 4.3.1 and 4.3.2.
// Pages are cut before filters are applied: one may be empty and not the last (4.3.2); ids do not go with pages (4.3.1).
func TestDescribeImages_pages(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		for range 6 {
			b.snapshot("")
		}
		tagged := b.snapshot("")
		ok(b.ec2.CreateTags(b.Context(), &ec2.CreateTagsInput{Resources: []string{tagged}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(b)
		pages := ec2.NewDescribeSnapshotsPaginator(b.ec2, &ec2.DescribeSnapshotsInput{
			OwnerIds: []string{"self"}, MaxResults: aws.Int32(5), Filters: []types.Filter{{Name: aws.String("tag:k"), Values: []string{"v"}}},
		})
		var sizes []int
		for pages.HasMorePages() {
			sizes = append(sizes, len(ok(pages.NextPage(b.Context()))(b).Snapshots))
		}
		if len(sizes) != 2 || sizes[0] != 0 || sizes[1] != 1 {
			t.Errorf("pages of %v", sizes)
		}
		_, err := b.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{tagged}, MaxResults: aws.Int32(5)})
		requireErrorCode(t, err, "InvalidParameterCombination")
		_, err = b.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{MaxResults: aws.Int32(4)})
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}

// TestDescribeSnapshots_withoutOwner covers rule 4.3.3.
func TestDescribeSnapshots_withoutOwner(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		b.share(b.snapshot(""))
		for owners, want := range map[string]int{"": 1, "self": 0, owner: 1} {
			in := &ec2.DescribeSnapshotsInput{}
			if owners != "" {
				in.OwnerIds = []string{owners}
			}
			if got := ok(b.at(member, home).DescribeSnapshots(b.Context(), in))(b).Snapshots; len(got) != want {
				t.Errorf("owner %q: %v", owners, got)
			}
		}
	})
}

// TestStaleRead_missesNewResources covers rule 4.4.1.
// For some moments a describe call may not know what was just made (4.4.1).
func TestStaleRead_missesNewResources(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		id := b.copySnapshot(b.ec2, b.snapshot(""))
		b.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:Describe*", Times: 2})
		for range 2 {
			_, err := b.at(owner, home).DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			requireErrorCode(t, err, "InvalidSnapshot.NotFound")
		}
		b.seen(b.ec2, id)
		time.Sleep(time.Minute)
		b.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:Describe*"})
		b.seen(b.ec2, id)
	})
}

// TestDescribeImageReferences_templatesAndInstances covers rule 9.12.
// What names an image is told: instances that are not terminated, and launch templates (9.12).
func TestDescribeImageReferences_templatesAndInstances(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		instance := b.launch(b.ec2, image)
		template := *ok(b.ec2.CreateLaunchTemplate(b.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("golden"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &image},
		}))(b).LaunchTemplate.LaunchTemplateId
		got := ok(b.ec2.DescribeImageReferences(b.Context(), &ec2.DescribeImageReferencesInput{ImageIds: []string{image}, IncludeAllResourceTypes: aws.Bool(true)}))(b).ImageReferences
		if len(got) != 2 || *got[0].Arn != "arn:aws:ec2:us-east-1:"+owner+":instance/"+instance || *got[1].Arn != "arn:aws:ec2:us-east-1:"+owner+":launch-template/"+template {
			t.Errorf("references %+v", got)
		}
		for range 10 {
			ok(b.ec2.CreateLaunchTemplateVersion(b.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: &template, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String("ami-0123456789abcdef0")}}))(b)
		}
		for depth, want := range map[string]int{"10": 1, "11": 2} { // as many of the newest versions as are asked for
			got := ok(b.ec2.DescribeImageReferences(b.Context(), &ec2.DescribeImageReferencesInput{ImageIds: []string{image}, IncludeAllResourceTypes: aws.Bool(true), ResourceTypes: []types.ResourceTypeRequest{
				{ResourceType: types.ImageReferenceResourceTypeEc2LaunchTemplate, ResourceTypeOptions: []types.ResourceTypeOption{{OptionName: types.ImageReferenceOptionNameVersionDepth, OptionValues: []string{depth}}}}}}))(b).ImageReferences
			if len(got) != want {
				t.Errorf("%d references in %s versions, want %d", len(got), depth, want)
			}
		}
	})
}
