// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// seller is an account that sells images in AWS Marketplace.
const seller = "679593333241"

// createVendorImage creates a public image of an account that may use billing products.
func (f fixture) createVendorImage(account string, products ...string) string {
	f.Helper()
	client := f.ec2At(account, home)
	volume := requireOutput(client.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8),
	}))(f)

	time.Sleep(time.Minute)
	root := requireOutput(client.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId}))(f)
	f.waitForSnapshot(client, *root.SnapshotId)
	image := requireOutput(client.RegisterImage(f.Context(), &ec2.RegisterImageInput{
		Name:               aws.String("vendor's"),
		RootDeviceName:     aws.String("/dev/sda1"),
		VirtualizationType: aws.String("hvm"),
		Architecture:       types.ArchitectureValuesX8664,
		EnaSupport:         aws.Bool(true),
		BillingProducts:    products,
		BlockDeviceMappings: []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: root.SnapshotId}},
		},
	}))(f)

	requireOutput(client.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: image.ImageId, LaunchPermission: &types.LaunchPermissionModifications{
			Add: []types.LaunchPermission{{UserId: aws.String(owner)}, {UserId: aws.String(member)}},
		},
	}))(f)

	return *image.ImageId
}

// rebuildImage launches an image as the owner and creates an image of the instance.
func (f fixture) rebuildImage(image string, changes ...func(*ec2.CreateImageInput)) string {
	f.Helper()
	id := f.launch(f.ec2, image)
	time.Sleep(time.Minute)
	in := &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("image of " + id)}
	for _, change := range changes {
		change(in)
	}
	return *f.waitForImage(f.ec2, *requireOutput(f.ec2.CreateImage(f.Context(), in))(f).ImageId).ImageId
}

// createMarketplaceImage creates an image of the owner from a Marketplace image.
func (f fixture) createMarketplaceImage() string {
	return f.rebuildImage(f.createVendorImage(seller, "code"))
}

// TestCreateImage_keepsVolumeKeys covers rule 1.2.1. The snapshots keep the volumes' keys, and the request cannot
// change them (rule 1.2.2).
func TestCreateImage_keepsVolumeKeys(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		created := f.rebuildImage(f.createImage(key))
		if root := f.describeSnapshot(f.ec2, f.rootSnapshot(f.ec2, created)); *root.KmsKeyId != key {
			t.Errorf("the new snapshot is under %s, want %s", *root.KmsKeyId, key)
		}
		requireOutput(f.ec2.EnableEbsEncryptionByDefault(f.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(f)
		byDefault := f.rebuildImage(f.createImage(""))
		root := f.describeSnapshot(f.ec2, f.rootSnapshot(f.ec2, byDefault))
		if aws.ToString(root.KmsKeyId) != f.awsManagedKeyARN(owner, home) {
			t.Errorf("with encryption by default the new snapshot is under %q", aws.ToString(root.KmsKeyId))
		}
	})
}

// TestCreateImage_cannotEncryptVolume covers rule 1.2.1. CreateImage keeps the encryption and the key of the
// instance's volumes.
func TestCreateImage_cannotEncryptVolume(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.launch(f.ec2, f.createImage(""))
		time.Sleep(time.Minute)
		for _, encrypted := range []bool{true, false} {
			_, err := f.ec2.CreateImage(f.Context(), &ec2.CreateImageInput{
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

// TestDescribeImages_showsEncryptionWithoutKey covers rule 1.2.4. An image shows for each device whether it is
// encrypted, but not the key. It can have both kinds of devices (rule 1.2.3).
func TestDescribeImages_showsEncryptionWithoutKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		data := f.createSnapshot("")
		image := f.createImage(f.createKey(), func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data},
			})
		})
		for _, device := range f.describeImage(f.ec2, image).BlockDeviceMappings {
			if device.Ebs.KmsKeyId != nil || *device.Ebs.Encrypted != (*device.DeviceName == "/dev/sda1") {
				t.Errorf("%s: %+v", *device.DeviceName, *device.Ebs)
			}
		}
	})
}

// TestDeregisterImage_imageUnavailable covers rule 2.5.9. A deregistered image is no longer available.
func TestDeregisterImage_imageUnavailable(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		requireOutput(f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &image}))(f)
		left := requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
			ImageIds: []string{image},
		}))(f).Images
		if len(left) != 0 {
			t.Errorf("it is still described: %v", left)
		}
		_, err := f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &image})
		requireErrorCode(t, err, "InvalidAMIID.Unavailable")
	})
}

// TestDeleteSnapshot_inUse covers rule 2.5.8. A snapshot that an image uses cannot be deleted.
func TestDeleteSnapshot_inUse(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		data := f.createSnapshot("")
		image := f.createImage("", func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data},
			})
		})
		_, err := f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &data, DryRun: aws.Bool(true)})
		requireErrorCode(t, err, "DryRunOperation")
		_, err = f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &data})
		requireError(t, err, "InvalidSnapshot.InUse", "The snapshot "+data+" is currently in use by "+image)
	})
}

// TestDeregisterImage_deletesSnapshots covers rule 9.11. DeleteAssociatedSnapshots deletes snapshots that no other
// image uses and returns the results.
func TestDeregisterImage_deletesSnapshots(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		shared := f.createSnapshot("")
		withShared := func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &shared},
			})
		}

		first, second := f.createImage("", withShared), f.createImage("", withShared)
		root := f.rootSnapshot(f.ec2, first)
		want := map[string]types.SnapshotReturnCodes{
			root: types.SnapshotReturnCodesSuccess, shared: types.SnapshotReturnCodesWarnSkipped,
		}

		got := requireOutput(f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{
			ImageId: &first, DeleteAssociatedSnapshots: aws.Bool(true),
		}))(f).DeleteSnapshotResults

		for _, one := range got {
			if one.ReturnCode != want[*one.SnapshotId] {
				t.Errorf("%s: %s", *one.SnapshotId, one.ReturnCode)
			}
		}

		if len(got) != 2 {
			t.Errorf("results %v", got)
		}

		f.describeImage(f.ec2, second)
		f.describeSnapshot(f.ec2, shared)
		_, err := f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{root}})
		requireErrorCode(t, err, "InvalidSnapshot.NotFound")
	})
}

// TestDeregisterImage_protected covers rules 9.5 and A.2.1. Deregistration protection with a cooldown ends a day
// after it was disabled. A protected image cannot be deregistered.
func TestDeregisterImage_protected(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		deregister := func() error {
			_, err := f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &image})
			return err
		}

		protect := func(cooldown bool) string {
			return *requireOutput(f.ec2.EnableImageDeregistrationProtection(
				f.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: &image, WithCooldown: &cooldown},
			))(f).Return
		}

		lift := func() {
			requireOutput(f.ec2.DisableImageDeregistrationProtection(
				f.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: &image},
			))(f)
		}

		view := func() string { return *f.describeImage(f.ec2, image).DeregistrationProtection }
		if got := view(); got != "disabled" {
			t.Errorf("a new image is %s (2.5.6)", got)
		}
		if got := protect(false); got != "enabled-without-cooldown" || view() != got { // rule A.2.4
			t.Errorf("protected: %s, %s", got, view())
		}

		requireErrorCode(t, deregister(), "OperationNotPermitted")
		lift()
		if got := view(); got != "disabled" { // rule A.2.5: at once without a cooldown
			t.Errorf("lifted: %s", got)
		}
		if got := protect(true); got != "enabled-with-cooldown" {
			t.Errorf("protected with a cooldown: %s", got)
		}

		lift()
		if got := view(); len(got) < 15 || got[:15] != "disabled after " { // rule A.2.3
			t.Errorf("in the cooldown: %s", got)
		}

		requireErrorCode(t, deregister(), "OperationNotPermitted")
		time.Sleep(24 * time.Hour)
		if err := deregister(); err != nil {
			t.Errorf("a day later: %v", err)
		}
	})
}

// TestDisableImage_effects covers rule 9.2. Disabling an image hides it and removes its launch permissions
// permanently.
func TestDisableImage_effects(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		f.shareImage(image)
		requireOutput(f.ec2.DisableImage(f.Context(), &ec2.DisableImageInput{ImageId: &image}))(f)
		got := requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(f).Images
		if len(got) != 0 {
			t.Errorf("it is listed: %v", got)
		}

		got = requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
			Owners: []string{"self"}, IncludeDisabled: aws.Bool(true),
		}))(f).Images
		if len(got) != 1 || got[0].State != types.ImageStateDisabled {
			t.Errorf("with the disabled ones: %v", got)
		}

		_, err := f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{
				Add: []types.LaunchPermission{{UserId: aws.String(member)}},
			},
		})

		requireErrorCode(t, err, "InvalidAMIID.Unavailable")
		requireOutput(f.ec2.EnableImage(f.Context(), &ec2.EnableImageInput{ImageId: &image}))(f)
		got = requireOutput(f.ec2At(member, home).DescribeImages(f.Context(), &ec2.DescribeImagesInput{
			ImageIds: []string{image},
		}))(f).Images
		if len(got) != 0 {
			t.Error("enabled again, the recipient sees it: the permissions came back")
		}
	})
}

// TestDescribeImages_deprecated covers rule 9.21. Other accounts do not find a deprecated image in lists.
func TestDescribeImages_deprecated(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		f.shareImage(image)
		deprecate := func(at time.Time) error {
			_, err := f.ec2.EnableImageDeprecation(f.Context(), &ec2.EnableImageDeprecationInput{
				ImageId: &image, DeprecateAt: &at,
			})
			return err
		}

		requireErrorCode(t, deprecate(time.Now().Add(-time.Hour)), "InvalidParameterValue")
		requireErrorCode(t, deprecate(time.Now().AddDate(10, 1, 0)), "InvalidParameterValue")
		if err := deprecate(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}

		listed := func(account string, deprecated bool) int {
			return len(requireOutput(f.ec2At(account, home).DescribeImages(f.Context(), &ec2.DescribeImagesInput{
				Owners: []string{owner}, IncludeDeprecated: &deprecated,
			}))(f).Images)
		}
		if listed(member, false) != 1 {
			t.Error("it is not listed before its day")
		}

		time.Sleep(2 * time.Hour)
		if listed(member, false) != 0 || listed(member, true) != 1 || listed(owner, false) != 1 {
			t.Errorf(
				"after its day the recipient lists %d, with the deprecated %d, the owner %d", listed(member, false),
				listed(member, true), listed(owner, false),
			)
		}

		f.launch(f.ec2At(member, home), image)
	})
}

// TestEC2_malformedIDs covers rule 2.5.10. IDs that are unknown and IDs that are malformed have different errors.
func TestEC2_malformedIDs(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		for id, code := range map[string]string{
			"": "MissingParameter", "nope": "InvalidAMIID.Malformed", "ami-00000000000000000": "InvalidAMIID.Malformed",
			"ami-11111111111111111": "InvalidAMIID.Malformed",
			"ami-0ffffffffffffffff": "InvalidAMIID.NotFound", "ami-01234567": "InvalidAMIID.NotFound",
		} {
			_, err := f.ec2At(owner, home).DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}})
			requireErrorCode(t, err, code)
		}

		for id, code := range map[string]string{
			"nope": "InvalidParameterValue", "snap-00000000000000000": "InvalidSnapshotID.Malformed",
			"snap-0ffffffffffffffff": "InvalidSnapshot.NotFound", "snap-00000000": "InvalidSnapshot.NotFound",
		} {
			_, err := f.ec2At(owner, home).DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			requireErrorCode(t, err, code)
			_, err = f.ec2At(owner, home).DescribeSnapshotAttribute(f.Context(), &ec2.DescribeSnapshotAttributeInput{
				SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
			})
			requireErrorCode(t, err, code)
			_, err = f.ec2At(owner, home).CreateVolume(f.Context(), &ec2.CreateVolumeInput{
				SnapshotId: &id, AvailabilityZone: aws.String(home + "a"), DryRun: aws.Bool(true),
			})
			requireErrorCode(t, err, code)
		}
	})
}

func TestDescribeImages_owners(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		own, amazons := f.createImage(""), f.createVendorImage("137112412989")
		for owner, want := range map[string]string{
			"self":         own,
			"111111111111": own,
			"amazon":       amazons,
			"137112412989": amazons,
		} {
			got := requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{owner}}))(f).Images
			if len(got) != 1 || *got[0].ImageId != want {
				t.Errorf("owner %s: %v", owner, got)
			}
		}

		for user, want := range map[string]int{"self": 1, "all": 0, member: 0} {
			got := requireOutput(f.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
				ExecutableUsers: []string{user},
			}))(f).Images
			if len(got) != want {
				t.Errorf("executable by %s: %v", user, got)
			}
		}
	})
}

// TestDescribeImages_pages covers rules 4.3.1 and 4.3.2. Pages are cut before filters apply, so a page can be empty
// without being the last. IDs cannot be combined with pages.
func TestDescribeImages_pages(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		for range 6 {
			f.createSnapshot("")
		}

		tagged := f.createSnapshot("")
		requireOutput(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
			Resources: []string{tagged}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		}))(f)

		pages := ec2.NewDescribeSnapshotsPaginator(f.ec2, &ec2.DescribeSnapshotsInput{
			OwnerIds: []string{"self"}, MaxResults: aws.Int32(5), Filters: []types.Filter{
				{Name: aws.String("tag:k"), Values: []string{"v"}},
			},
		})

		var sizes []int
		for pages.HasMorePages() {
			sizes = append(sizes, len(requireOutput(pages.NextPage(f.Context()))(f).Snapshots))
		}

		if len(sizes) != 2 || sizes[0] != 0 || sizes[1] != 1 {
			t.Errorf("pages of %v", sizes)
		}

		_, err := f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
			SnapshotIds: []string{tagged}, MaxResults: aws.Int32(5),
		})

		requireErrorCode(t, err, "InvalidParameterCombination")
		_, err = f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{MaxResults: aws.Int32(4)})
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}

// TestDescribeSnapshots_withoutOwner covers rule 4.3.3. Without an owner filter, shared snapshots are listed too.
func TestDescribeSnapshots_withoutOwner(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.shareSnapshot(f.createSnapshot(""))
		for owners, want := range map[string]int{"": 1, "self": 0, owner: 1} {
			in := &ec2.DescribeSnapshotsInput{}
			if owners != "" {
				in.OwnerIds = []string{owners}
			}
			if got := requireOutput(f.ec2At(member, home).DescribeSnapshots(f.Context(), in))(f).Snapshots; len(got) != want {
				t.Errorf("owner %q: %v", owners, got)
			}
		}
	})
}

// TestStaleRead_missesNewResources covers rule 4.4.1. A describe call may miss a resource that was just created.
func TestStaleRead_missesNewResources(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := f.copySnapshot(f.ec2, f.createSnapshot(""))
		f.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:Describe*", Times: 2})
		for range 2 {
			_, err := f.ec2At(owner, home).DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			requireErrorCode(t, err, "InvalidSnapshot.NotFound")
		}
		f.describeSnapshot(f.ec2, id)
		time.Sleep(time.Minute)
		f.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:Describe*"})
		f.describeSnapshot(f.ec2, id)
	})
}

// TestDescribeImageReferences_templatesAndInstances covers rule 9.24. A request says how many of the newest versions of
// a launch template are searched.
func TestDescribeImageReferences_templatesAndInstances(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		instance := f.launch(f.ec2, image)
		template := *requireOutput(f.ec2.CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("golden"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &image},
		}))(f).LaunchTemplate.LaunchTemplateId

		got := requireOutput(f.ec2.DescribeImageReferences(f.Context(), &ec2.DescribeImageReferencesInput{
			ImageIds: []string{image}, IncludeAllResourceTypes: aws.Bool(true),
		}))(f).ImageReferences
		if len(got) != 2 || *got[0].Arn != "arn:aws:ec2:us-east-1:"+owner+":instance/"+instance ||
			*got[1].Arn != "arn:aws:ec2:us-east-1:"+owner+":launch-template/"+template {
			t.Errorf("references %+v", got)
		}

		for range 10 {
			requireOutput(f.ec2.CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{
				LaunchTemplateId:   &template,
				LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String("ami-0fedcba9876543210")},
			}))(f)
		}

		for depth, want := range map[string]int{"10": 1, "11": 2} { // number of newest versions to search
			got := requireOutput(f.ec2.DescribeImageReferences(f.Context(),
				&ec2.DescribeImageReferencesInput{ImageIds: []string{
					image,
				}, IncludeAllResourceTypes: aws.Bool(true), ResourceTypes: []types.ResourceTypeRequest{
					{
						ResourceType: types.ImageReferenceResourceTypeEc2LaunchTemplate,
						ResourceTypeOptions: []types.ResourceTypeOption{
							{OptionName: types.ImageReferenceOptionNameVersionDepth, OptionValues: []string{depth}},
						},
					},
				}}))(f).ImageReferences
			if len(got) != want {
				t.Errorf("%d references in %s versions, want %d", len(got), depth, want)
			}
		}
	})
}

// TestDescribeImageReferences_resourceTypes covers rules B.10.1, B.10.2 and B.10.4. A request names all resource types
// or some, and at most ten images. Terminated instances count unless the request leaves out their state.
func TestDescribeImageReferences_resourceTypes(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		instance := f.launch(f.ec2, image)
		requireNoError(f.putParameter(f.ssm(owner), "golden", image, ofImage))(f)
		time.Sleep(2 * time.Minute)
		requireNoError(f.ec2.TerminateInstances(f.Context(), &ec2.TerminateInstancesInput{
			InstanceIds: []string{instance},
		}))(f)
		time.Sleep(2 * time.Minute)

		look := func(in *ec2.DescribeImageReferencesInput) (arns []string, err error) {
			if in.ImageIds == nil {
				in.ImageIds = []string{image}
			}
			out, err := f.ec2.DescribeImageReferences(f.Context(), in)
			if err != nil {
				return nil, err
			}
			for _, found := range out.ImageReferences {
				arns = append(arns, *found.Arn)
			}
			return arns, nil
		}

		_, err := look(&ec2.DescribeImageReferencesInput{})
		requireErrorCode(f, err, "MissingParameter") // B.10.2
		_, err = look(&ec2.DescribeImageReferencesInput{
			ImageIds: slices.Repeat([]string{image}, 11), IncludeAllResourceTypes: aws.Bool(true),
		})
		requireErrorCode(f, err, "InvalidParameterValue") // B.10.1

		all := requireOutput(look(&ec2.DescribeImageReferencesInput{IncludeAllResourceTypes: aws.Bool(true)}))(f)
		if joined := strings.Join(all, " "); len(all) != 2 || !strings.HasSuffix(joined, "parameter/golden") ||
			!strings.HasSuffix(all[0], "instance/"+instance) {
			t.Errorf("all references: %v", all)
		}

		running := requireOutput(look(&ec2.DescribeImageReferencesInput{ResourceTypes: []types.ResourceTypeRequest{{
			ResourceType: types.ImageReferenceResourceTypeEc2Instance,
			ResourceTypeOptions: []types.ResourceTypeOption{{
				OptionName: types.ImageReferenceOptionNameStateName, OptionValues: []string{"running"},
			}},
		}}}))(f)
		if len(running) != 0 {
			t.Errorf("B.10.4: running instances: %v", running)
		}
	})
}

// TestDescribeImageReferences_permissions covers rule B.10.3. The caller needs permission for each search, through EC2.
func TestDescribeImageReferences_permissions(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		look := func(name, statements string) error {
			role := f.createRole(owner, name, trustStatement(rootOf(owner), `"sts:*"`), statements)
			_, err := ec2.NewFromConfig(f.sessionCredentials(role)).DescribeImageReferences(
				f.Context(), &ec2.DescribeImageReferencesInput{
					ImageIds: []string{image}, IncludeAllResourceTypes: aws.Bool(true),
				},
			)
			return err
		}

		const viaEC2 = `{"Effect":"Allow","Action":["imagebuilder:*","ssm:*"],"Resource":"*","Condition":` +
			`{"ForAnyValue:StringEquals":{"aws:CalledVia":"ec2-images.amazonaws.com"}}}`
		if err := look("both", allowStatement(`"ec2:Describe*"`)+","+viaEC2); err != nil {
			t.Error(err)
		}
		requireErrorMessage(
			f, look("ec2", allowStatement(`"ec2:Describe*"`)), "UnauthorizedOperation", "ssm:DescribeParameters",
		)
	})
}
