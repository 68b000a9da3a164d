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
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
)

// TestScenario_shareAndCopyImage shares an image with two devices. The recipient launches it and copies it under its
// own key to another Region. The copy still works after the owner revoked everything.
func TestScenario_shareAndCopyImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient, remote := f.inLocation(member, home), f.inLocation(member, away)
		data := f.createSnapshot(f.createSharedKey())
		source := f.createSharedKey()
		image := f.createImage(source, withDataDevice(data))
		root := f.rootSnapshot(f.ec2, image)
		requireNoError(0, f.setTag(f.ec2, image, "secret"))(f)
		target := f.createKeyIn(member, away)
		_, err := remote.copyImage(remote.ec2, image, imageUnder(target))
		requireErrorCode(f, err, "InvalidAMIID.NotFound")

		f.shareImage(image)
		view := f.describeImage(recipient.ec2, image)
		expectEqual(f, "tags that the recipient sees (2.2.12)", len(view.Tags), 0)
		expectEqual(f, "protection that the recipient sees (2.2.12)", view.DeregistrationProtection, nil)
		expectEqual(
			f, "the recipient's instance of the shared image (2.2.7)", recipient.launchAndWait(image).State.Name,
			types.InstanceStateNameRunning,
		)

		for _, part := range []string{root, data} {
			_, err := remote.copyImage(remote.ec2, image, imageUnder(target))
			requireError(f, err, "InvalidRequest", "You do not have permission to access the storage of this ami") // 2.2.8
			f.shareSnapshot(part)
		}

		copied := remote.copyImageAndWait(image, imageUnder(target))
		for _, device := range f.describeImage(remote.ec2, copied).BlockDeviceMappings {
			expectEqual(
				f, "the key of "+*device.DeviceName+" (1.4.6, 1.4.12)", remote.snapshotKey(*device.Ebs.SnapshotId), target,
			)
			expectEqual(
				f, "the owner of "+*device.DeviceName, *f.describeSnapshot(remote.ec2, *device.Ebs.SnapshotId).OwnerId, member,
			)
		}

		// A snapshot that is only shared cannot be registered (rule 1.5.6), nor one of another Region (rule 2.5.4).
		_, err = recipient.registerImage(recipient.ec2, root)
		requireError(
			f, err, "InvalidParameterValue", "Invalid value '"+root+"' for snapshotId. Snapshot does not belong to "+member,
		)

		part := remote.rootSnapshot(remote.ec2, copied)
		_, err = recipient.registerImage(recipient.ec2, part)
		requireError(f, err, "InvalidSnapshotID.NotFound", "The snapshot ID '"+part+"' does not exist")
		tagged := func(kind types.ResourceType) func(*ec2.RegisterImageInput) {
			return func(in *ec2.RegisterImageInput) {
				in.TagSpecifications = []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{tag("team", "golden")}}}
			}
		}

		_, err = remote.registerImage(remote.ec2, part, tagged(types.ResourceTypeSnapshot))
		expectDenied(f, "a registration that tags snapshots (2.5.7)", err)
		requireNoError(remote.registerImage(remote.ec2, part, tagged(types.ResourceTypeImage)))(f)

		// Allowed AMIs hides images of other accounts, never the account's own (rule 2.2.14).
		for _, in := range []fixture{recipient, remote} {
			requireNoError(in.ec2.ReplaceImageCriteriaInAllowedImagesSettings(f.Context(),
				&ec2.ReplaceImageCriteriaInAllowedImagesSettingsInput{
					ImageCriteria: []types.ImageCriterionRequest{
						{ImageProviders: []string{"amazon"}},
						{ImageWatermarks: []types.ImageWatermarkFilterRequest{{WatermarkKey: aws.String("*:approved")}}}, // 9.28
					},
				}))(f)
			requireNoError(in.ec2.EnableAllowedImagesSettings(f.Context(), &ec2.EnableAllowedImagesSettingsInput{
				AllowedImagesSettingsState: types.AllowedImagesSettingsEnabledStateEnabled,
			}))(f)
		}

		_, err = recipient.ec2.RunInstances(f.Context(), oneInstance(image), withoutEC2Retries)
		requireErrorCode(f, err, "InvalidAMIID.NotFound")
		_, err = recipient.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
		requireErrorCode(f, err, "InvalidAMIID.NotFound")

		// The owner revokes all access, including the key. The recipient's copy is not affected (rule 1.3.13).
		f.removeLaunchPermissions(image)
		for _, part := range []string{root, data} {
			requireNoError(0, f.modifyPermission(part, false, toUser(member)))(f)
		}

		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &source}))(f)
		expectEqual(
			f, "the recipient's instance of its copy", remote.launchAndWait(copied).State.Name, types.InstanceStateNameRunning,
		)
	})
}

// removeLaunchPermissions removes all launch permissions of an image.
func (f fixture) removeLaunchPermissions(image string) {
	f.Helper()
	requireNoError(f.ec2.ResetImageAttribute(f.Context(), &ec2.ResetImageAttributeInput{
		ImageId: &image, Attribute: types.ResetImageAttributeNameLaunchPermission,
	}))(f)
}

// TestScenario_publicAccessBlocked publishes an image. New accounts block this at first, and encrypted resources cannot
// become public.
func TestScenario_publicAccessBlocked(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		otherRole := f.inLocation("222222222222", home)
		everyone := types.LaunchPermission{Group: types.PermissionGroupAll}
		image, encrypted := f.createImage(""), f.createImage(f.createKey())
		sees := func() int {
			return len(requireOutput(otherRole.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
				ImageIds: []string{image},
			}))(f).Images)
		}

		expectDenied(f, "a public image of a newer account (2.2.13)", f.addLaunchPermission(image, everyone))
		expectEqual(f, "what a stranger sees then", sees(), 0)
		requireNoError(f.ec2.DisableImageBlockPublicAccess(f.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(f)
		time.Sleep(10 * time.Minute) // a change takes that long (rule 2.2.13)
		requireNoError(0, f.addLaunchPermission(image, everyone))(f)
		expectEqual(f, "what a stranger sees of the public image", sees(), 1)
		// rule 2.2.3: an image with an encrypted snapshot cannot be public
		requireErrorMessage(
			f, f.addLaunchPermission(
				encrypted, everyone,
			), "UnsupportedOperation", "be shared publicly. Specify another snapshot.",
		)

		root := f.rootSnapshot(f.ec2, image)
		requireNoError(0, f.modifyPermission(root, true, toAll))(f)
		otherRole.copyImageAndWait(image)
		// rule 2.1.2: an encrypted snapshot cannot be public
		requireError(
			f, f.modifyPermission(f.rootSnapshot(f.ec2, encrypted), true, toAll), "OperationNotPermitted",
			"Encrypted snapshots cannot be shared publicly.",
		)

		requireNoError(f.ec2.EnableSnapshotBlockPublicAccess(f.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{
			State: types.SnapshotBlockPublicAccessStateBlockAllSharing,
		}))(f)

		// rule 2.1.3: block public access prevents public snapshots
		requireError(
			f, f.modifyPermission(f.createSnapshot(""), true, toAll), "OperationNotPermitted",
			"Public sharing of snapshots is blocked for this account.",
		)

		_, err := otherRole.copyImage(otherRole.ec2, image, withUniqueName)
		requireErrorCode(f, err, "InvalidRequest") // rule 2.2.8: the snapshots are no longer public
		expectEqual(
			f, "what a stranger launches of the public image (2.2.7)", otherRole.launchAndWait(image).State.Name,
			types.InstanceStateNameRunning,
		)
	})
}

// TestScenario_billing shows that billing follows the data through launches, copies and registrations. Marketplace
// images cannot be copied to another account.
func TestScenario_billing(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient, remote := f.inLocation(member, home), f.inLocation(owner, away)
		windows := f.rebuildImage(f.createVendorImage("801119661308", "bp-0002"))
		data := f.copySnapshot(remote.ec2, f.rootSnapshot(f.ec2, windows), withKey(f.createKeyIn(owner, away)))
		remote.waitForSnapshot(remote.ec2, data)
		for method, id := range map[string]string{
			"CopyImage":                      remote.copyImageAndWait(windows),
			"CopySnapshot and RegisterImage": requireOutput(remote.registerImage(remote.ec2, data))(f),
		} {
			got := f.describeImage(remote.ec2, id)
			expectEqual(f, "the details after "+method+" (2.3.3)", *got.PlatformDetails, "Windows")
			expectEqual(f, "the operation after "+method+" (2.3.4)", *got.UsageOperation, "RunInstances:0002")
		}

		_, err := f.registerImage(f.ec2, f.createSnapshot(""), func(in *ec2.RegisterImageInput) {
			in.BillingProducts = []string{"bp-0002"}
		})

		expectDenied(f, "a registration with billing products (2.3.3)", err)

		bought := f.createMarketplaceImage()
		root := f.rootSnapshot(f.ec2, bought)
		remote.copyImageAndWait(bought) // within the account it can be copied
		f.shareImage(bought)
		f.shareSnapshot(root)
		_, err = recipient.copyImage(recipient.ec2, bought)
		requireError(f, err, "InvalidRequest", "Images from AWS Marketplace cannot be copied to another AWS account") // 2.3.1
		// launching the image and creating an image of the instance is the only method left (rule 2.3.2)
		created := f.describeImage(recipient.ec2, recipient.rebuildImage(bought))
		if len(created.ProductCodes) != 1 || created.ProductCodes[0].ProductCodeType != types.ProductCodeValuesMarketplace {
			t.Errorf("2.3.5: what the recipient built has the codes %v", created.ProductCodes)
		}

		requireNoError(f.ec2.DisableImageBlockPublicAccess(f.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(f)
		expectDenied(
			f, "a public image with a product code (2.3.5)",
			f.addLaunchPermission(bought, types.LaunchPermission{Group: types.PermissionGroupAll}),
		)

		copied := f.copySnapshot(f.ec2, root)
		f.waitForSnapshot(f.ec2, copied)
		expectDenied(
			f, "a public copy of a snapshot with a product code (2.1.10, 2.3.5)", f.modifyPermission(copied, true, toAll),
		)

		_, err = f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &bought, ProductCodes: []string{"other"}, Description: &types.AttributeValue{Value: aws.String("free")},
		})

		expectDenied(f, "another product code, beside a description (2.3.6)", err)
	})
}

// TestScenario_firmware copies an image with UEFI and a TPM. CopyImage keeps both. With CopySnapshot and RegisterImage
// every attribute must be set again, and a missing one shows at the launch (rule 2.4).
func TestScenario_firmware(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient := f.inLocation(member, home)
		root := f.createSnapshot("")
		_, err := f.registerImage(f.ec2, root, setAllAttributes, func(in *ec2.RegisterImageInput) {
			in.BootMode = types.BootModeValuesUefiPreferred
		})

		expectDenied(f, "a TPM with uefi-preferred (2.4)", err)
		_, err = f.registerImage(f.ec2, root, func(in *ec2.RegisterImageInput) { in.KernelId = aws.String("aki-12345678") })
		expectDenied(f, "a kernel for hardware virtualization (2.4)", err)
		for what, wrong := range map[string]func(*ec2.RegisterImageInput){
			"UEFI data for a legacy BIOS": func(in *ec2.RegisterImageInput) { in.UefiData = aws.String("QU1aTlVFRkk=") },
			"UEFI data that is no base64": func(in *ec2.RegisterImageInput) {
				setAllAttributes(in)
				in.UefiData = aws.String("AMZNUEFI!")
			},
			"another enhanced networking mode": func(in *ec2.RegisterImageInput) { in.SriovNetSupport = aws.String("double") },
		} {
			_, err := f.registerImage(f.ec2, root, wrong)
			expectDenied(f, what+" (2.4)", err)
		}

		image := requireOutput(f.registerImage(f.ec2, root, setAllAttributes))(f)
		requireNoError(0, f.setTag(f.ec2, image, "golden"))(f)
		f.shareImage(image)
		f.shareSnapshot(root)

		uefi := func(by *ec2.Client, id string) (string, error) {
			got, err := by.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
				ImageId: &id, Attribute: types.ImageAttributeNameUefiData,
			})
			if err != nil {
				return "", err
			}
			return *got.UefiData.Value, nil
		}

		_, err = uefi(recipient.ec2, image)
		requireError(f, err, "AuthFailure", "Not authorized for image:"+image) // 2.2.11
		copied := recipient.copyImageAndWait(image, func(in *ec2.CopyImageInput) { in.CopyImageTags = yes })
		checkAllAttributes(t, f.describeImage(recipient.ec2, copied))
		expectEqual(f, "the variable store of the copy", requireOutput(uefi(recipient.ec2, copied))(f), "QU1aTlVFRkk=")
		expectEqual(f, "another account's tags at the copy", len(f.describeImage(recipient.ec2, copied).Tags), 0)
		expectEqual(
			f, "own tags at the owner's copy",
			len(f.describeImage(
				f.ec2, f.copyImageAndWait(image, func(in *ec2.CopyImageInput) { in.CopyImageTags = yes }),
			).Tags), 1,
		)

		part := f.copySnapshot(recipient.ec2, root)
		recipient.waitForSnapshot(recipient.ec2, part)
		forgetting := func(name string, change func(*ec2.RegisterImageInput)) error {
			id := requireOutput(recipient.registerImage(recipient.ec2, part, func(in *ec2.RegisterImageInput) {
				in.Name, in.EnaSupport = aws.String("without "+name), aws.Bool(true)
				change(in)
			}))(f)
			expectEqual(f, "the boot mode, without "+name, f.describeImage(recipient.ec2, id).BootMode, "")
			_, err := recipient.ec2.RunInstances(f.Context(), oneInstance(id), withoutEC2Retries)
			return err
		}

		expectDenied(
			f, "a launch without ENA (2.4.4)", forgetting("ENA", func(in *ec2.RegisterImageInput) { in.EnaSupport = nil }),
		)

		expectDenied(
			f, "a launch as paravirtual, the default (2.4)",
			forgetting("virtualization", func(in *ec2.RegisterImageInput) { in.VirtualizationType = nil }),
		)

		expectDenied(
			f, "a launch of an ARM image on an x86 type (2.4)",
			forgetting("the architecture", func(in *ec2.RegisterImageInput) {
				in.Architecture = types.ArchitectureValuesArm64
			}),
		)

		requireNoError(0, forgetting("firmware", func(*ec2.RegisterImageInput) {}))(f)
	})
}

// TestScenario_organization shares an image with an organizational unit. Its accounts can launch the image, but cannot
// copy it until the snapshots are shared with each account (rules 2.2.4 and 2.2.9).
func TestScenario_organization(t *testing.T) {
	inTree(t, func(o tree) {
		recipient := o.inLocation(member, home)
		unit := *requireOutput(o.client.DescribeOrganizationalUnit(
			o.Context(), &organizations.DescribeOrganizationalUnitInput{OrganizationalUnitId: &o.unit},
		))(o).OrganizationalUnit.Arn

		image := o.createImage("")
		for what, wrong := range map[string]types.LaunchPermission{
			"an organization's id": {
				OrganizationArn: aws.String("o-exampleorgid"),
			}, "a unit's id": {OrganizationalUnitArn: &o.unit},
		} {
			expectDenied(o, "a share with "+what+" (2.2.4)", o.addLaunchPermission(image, wrong))
		}

		requireNoError(0, o.addLaunchPermission(image, types.LaunchPermission{OrganizationalUnitArn: &unit}))(o)
		expectEqual(o, "a launch in the unit", recipient.launchAndWait(image).State.Name, types.InstanceStateNameRunning)
		_, err := o.inLocation("222222222222", home).ec2.RunInstances(o.Context(), oneInstance(image), withoutEC2Retries)
		requireErrorCode(o, err, "InvalidAMIID.NotFound")
		_, err = recipient.copyImage(recipient.ec2, image, withUniqueName)
		requireErrorCode(o, err, "InvalidRequest") // 2.2.9
		o.shareSnapshot(o.fixture.rootSnapshot(o.ec2, image))
		recipient.copyImageAndWait(image)

		// The unit counts as one of a thousand permissions (rule 2.2.5).
		var accounts []types.LaunchPermission
		for n := range 1000 {
			accounts = append(accounts, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("3%011d", n))})
		}

		requireNoError(0, o.addLaunchPermission(image, accounts[:999]...))(o)
		expectDenied(o, "entity 1,001 (2.2.5)", o.addLaunchPermission(image, accounts[999]))
		var many []types.LaunchPermission
		for n := range 10001 {
			many = append(many, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("5%011d", n))})
		}

		removing := func(n int) error {
			_, err := o.ec2.ModifyImageAttribute(o.Context(), &ec2.ModifyImageAttributeInput{
				ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Remove: many[:n]},
			})
			return err
		}

		requireNoError(0, removing(10000))(o)
		expectDenied(o, "10,001 ids in one request (2.2.5)", removing(10001))
	})
}

// TestScenario_imageLifecycle protects, deprecates, disables and deregisters an image. Its snapshots are deleted unless
// another image uses them or they are locked.
func TestScenario_imageLifecycle(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		recipient := f.inLocation(member, home)
		common, locked := f.createSnapshot(""), f.createSnapshot("")
		image := f.createImage("", withDataDevice(common), func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
				DeviceName: aws.String("/dev/sdc"), Ebs: &types.EbsBlockDevice{SnapshotId: &locked},
			})
		})

		younger := f.createImage("", withDataDevice(common))
		root := f.rootSnapshot(f.ec2, image)
		f.shareImage(image)
		requireNoError(f.ec2.LockSnapshot(f.Context(), &ec2.LockSnapshotInput{
			SnapshotId: &locked, LockMode: types.LockModeCompliance, LockDuration: aws.Int32(365),
		}))(f)

		deprecate := func(at time.Time) error {
			_, err := f.ec2.EnableImageDeprecation(f.Context(), &ec2.EnableImageDeprecationInput{
				ImageId: &image, DeprecateAt: &at,
			})
			return err
		}

		expectDenied(f, "deprecation in the past (9.21)", deprecate(time.Now().Add(-time.Hour)))
		expectDenied(f, "deprecation in eleven years (9.21)", deprecate(time.Now().AddDate(11, 0, 0)))
		requireNoError(0, deprecate(time.Now().Add(time.Hour)))(f)
		listed := func(by fixture) int {
			return len(requireOutput(by.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
				Owners: []string{owner},
			}))(f).Images)
		}

		expectEqual(f, "what the recipient lists before (9.21)", listed(recipient), 1)
		time.Sleep(2 * time.Hour)
		expectEqual(f, "what the recipient lists after (9.21)", listed(recipient), 0)
		expectEqual(f, "a launch by its id (9.21)", recipient.launchAndWait(image).State.Name, types.InstanceStateNameRunning)

		requireNoError(f.ec2.DisableImage(f.Context(), &ec2.DisableImageInput{ImageId: &image}))(f)
		expectEqual(f, "what the owner lists of two, one of them disabled (9.2)", listed(f), 1)
		expectDenied(
			f, "sharing a disabled image (9.2)", f.addLaunchPermission(image, types.LaunchPermission{
				UserId: aws.String(member),
			}),
		)

		_, err := f.ec2.RunInstances(f.Context(), oneInstance(image), withoutEC2Retries)
		expectDenied(f, "launching a disabled image (9.2)", err)
		requireNoError(f.ec2.EnableImage(f.Context(), &ec2.EnableImageInput{ImageId: &image}))(f)
		_, err = recipient.ec2.RunInstances(f.Context(), oneInstance(image), withoutEC2Retries)
		requireErrorCode(f, err, "InvalidAMIID.NotFound") // rule 9.2: the permissions are not restored

		deregister := func() (*ec2.DeregisterImageOutput, error) {
			return f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &image, DeleteAssociatedSnapshots: yes})
		}

		requireNoError(f.ec2.EnableImageDeregistrationProtection(
			f.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: &image, WithCooldown: yes},
		))(f)

		_, err = deregister()
		expectDenied(f, "deregistering a protected image (A.2.1)", err)
		requireNoError(f.ec2.DisableImageDeregistrationProtection(
			f.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: &image},
		))(f)

		time.Sleep(23 * time.Hour)
		_, err = deregister()
		expectDenied(f, "deregistering in the cool-down (9.5, A.2.1)", err)
		time.Sleep(time.Hour)
		results := map[string]types.SnapshotReturnCodes{}
		for _, one := range requireOutput(deregister())(f).DeleteSnapshotResults {
			results[*one.SnapshotId] = one.ReturnCode
		}

		expectEqual(f, "the root (9.11)", results[root], types.SnapshotReturnCodesSuccess)
		expectEqual(f, "what the younger image uses (9.11)", results[common], types.SnapshotReturnCodesWarnSkipped)
		// rule 9.3: the image is deregistered, but the snapshot remains
		if results[locked] == types.SnapshotReturnCodesSuccess {
			t.Error("9.3: the locked snapshot is gone")
		}

		_, err = f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &image})
		requireErrorCode(f, err, "InvalidAMIID.Unavailable") // 2.5.9
		expectEqual(f, "a launch of the younger image", f.launchAndWait(younger).State.Name, types.InstanceStateNameRunning)
		_, err = f.ec2.UnlockSnapshot(f.Context(), &ec2.UnlockSnapshotInput{SnapshotId: &locked})
		expectDenied(f, "unlocking in compliance mode (9.3)", err)
		_, err = f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &locked})
		expectDenied(f, "deleting a locked snapshot (9.3)", err)
		time.Sleep(year)
		requireNoError(f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &locked}))(f)
	})
}

// TestScenario_mistypedRequests sends invalid requests. A refused request changes nothing.
func TestScenario_mistypedRequests(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		root := f.rootSnapshot(f.ec2, image)
		for what, err := range map[string]error{
			"an account's number, for an image (2.2.10)": f.addLaunchPermission(image, types.LaunchPermission{
				UserId: aws.String("99999999999"),
			}),
			"the group, for an image (2.2.10)": f.addLaunchPermission(image, types.LaunchPermission{
				Group: "everyone",
			}),
			"an account's number, for a snapshot (A.4.3)": f.modifyPermission(root, true, toUser("99999999999")),
			"the group, for a snapshot (A.4.3)": f.modifyPermission(root, true, types.CreateVolumePermission{
				Group: "everyone",
			}),
			"an empty entry, for a snapshot (2.1.6)":       f.modifyPermission(root, true, types.CreateVolumePermission{}),
			"no account, for an image (2.2.10)":            f.addLaunchPermission(image),
			"the snapshot's id (2.5.10)":                   f.modifyPermission("snap-00000000000000000", true, toUser(member)),
			"the snapshot's prefix (2.5.10)":               f.modifyPermission("snp"+root[4:], true, toUser(member)),
			"a snapshot that is not there (2.1.7, 2.5.10)": f.modifyPermission("snap-0fedcba9876543210", true, toUser(member)),
		} {
			expectDenied(f, what, err)
		}

		_, err := f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, Attribute: aws.String("description"), Value: aws.String(""),
		})

		requireError(f, err, "MissingParameter", "The request must contain the parameter description") // 2.2.10
		for id, code := range map[string]string{
			"snp" + root[4:]: "InvalidParameterValue", "snap-00000000000000000": "InvalidSnapshotID.Malformed",
			"snap-0fedcba9876543210": "InvalidSnapshot.NotFound",
		} {
			_, err := f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			requireErrorCode(f, err, code) // 2.5.10
		}

		_, err = f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: aws.String("snap-0fedcba9876543210")})
		requireErrorCode(f, err, "InvalidSnapshot.NotFound") // 2.1.7
		left := requireOutput(f.ec2.DescribeSnapshotAttribute(f.Context(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: &root, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}))(f)

		expectEqual(f, "whom the snapshot is shared with", len(left.CreateVolumePermissions), 0)
		view := requireOutput(f.ec2.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
			ImageId: &image, Attribute: types.ImageAttributeNameLaunchPermission,
		}))(f)

		expectEqual(f, "whom the image is shared with", len(view.LaunchPermissions), 0)
	})
}

// TestScenario_imageWatermarks attaches watermarks to an image, which its copy keeps (rules 9.17 and 9.27).
func TestScenario_imageWatermarks(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		attach := func(client *ec2.Client, name string) error {
			_, err := client.AttachImageWatermark(
				f.Context(), &ec2.AttachImageWatermarkInput{ImageId: &image, WatermarkName: &name},
			)
			return err
		}
		watermarks := func(in *ec2.Client, id string) (keys []string) {
			for _, has := range f.describeImage(in, id).ImageWatermarks {
				keys = append(keys, *has.WatermarkKey)
			}
			return keys
		}

		for _, name := range []string{"abc", "b (1)", "c[1]", "d/e", "f.g@h'i_j-k"} {
			requireNoError(0, attach(f.ec2, name))(f)
		}
		requireErrorCode(f, attach(f.ec2, "the sixth"), "ResourceLimitExceeded")
		f.shareImage(image)
		requireErrorCode(f, attach(f.ec2At(member, home), "theirs"), "AuthFailure")

		want := []string{owner + ":abc", owner + ":b (1)", owner + ":c[1]", owner + ":d/e", owner + ":f.g@h'i_j-k"}
		copied := f.copyImageAndWait(image)
		detach := func(key string) {
			requireNoError(f.ec2.DetachImageWatermark(
				f.Context(), &ec2.DetachImageWatermarkInput{ImageId: &image, WatermarkKey: &key},
			))(f)
		}
		detach(want[0])
		detach(want[0])
		expectEqual(f, "watermarks of the image", fmt.Sprint(watermarks(f.ec2, image)), fmt.Sprint(want[1:]))
		expectEqual(f, "watermarks of its copy", fmt.Sprint(watermarks(f.ec2, copied)), fmt.Sprint(want))
		expectEqual(
			f, "watermarks that others see", fmt.Sprint(watermarks(f.ec2At(member, home), image)), fmt.Sprint(want[1:]),
		)

		publish := func() error {
			_, err := f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
				ImageId: &image,
				LaunchPermission: &types.LaunchPermissionModifications{
					Add: []types.LaunchPermission{{Group: types.PermissionGroupAll}},
				},
			})
			return err
		}
		requireNoError(f.ec2.DisableImageBlockPublicAccess(f.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(f)
		requireErrorCode(f, publish(), "OperationNotPermitted")
		for _, key := range want[1:] {
			detach(key)
		}
		requireNoError(0, publish())(f)
		requireErrorCode(f, attach(f.ec2, "too late"), "OperationNotPermitted")
	})
}
