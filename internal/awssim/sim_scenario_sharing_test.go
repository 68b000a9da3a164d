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

// An image of two devices is handed over: shared piece by piece, launched by the recipient, copied under its own key into another Region,
// and used there after the owner has taken everything back.
func TestScenario_shareAndCopyImage(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient, there := b.inLocation(member, home), b.inLocation(member, away)
		data := b.snapshot(b.openKey())
		source := b.openKey()
		image := b.image(source, alsoWith(data))
		root := b.root(b.ec2, image)
		must(0, b.tag(b.ec2, image, "secret"))(b)
		target := b.keyAt(member, away)
		_, err := there.copyImage(there.ec2, image, imageUnder(target))
		requireErrorCode(b, err, "InvalidAMIID.NotFound")

		b.shareImage(image)
		seen := b.seenImage(recipient.ec2, image)
		is(b, "tags that the recipient sees (2.2.12)", len(seen.Tags), 0)
		is(b, "protection that the recipient sees (2.2.12)", seen.DeregistrationProtection, nil)
		is(b, "the recipient's instance of the shared image (2.2.7)", recipient.launched(image).State.Name, types.InstanceStateNameRunning)
		for _, part := range []string{root, data} {
			_, err := there.copyImage(there.ec2, image, imageUnder(target))
			requireError(b, err, "InvalidRequest", "You do not have permission to access the storage of this ami") // 2.2.8
			b.share(part)
		}
		copied := there.imageCopied(image, imageUnder(target))
		for _, device := range b.seenImage(there.ec2, copied).BlockDeviceMappings {
			is(b, "the key of "+*device.DeviceName+" (1.4.6, 1.4.12)", there.keyOf(*device.Ebs.SnapshotId), target)
			is(b, "the owner of "+*device.DeviceName, *b.seen(there.ec2, *device.Ebs.SnapshotId).OwnerId, member)
		}

		// What is only shared cannot be registered (1.5.6), and a snapshot of another Region is none (2.5.4).
		_, err = recipient.register(recipient.ec2, root)
		requireError(b, err, "InvalidParameterValue", "Invalid value '"+root+"' for snapshotId. Snapshot does not belong to "+member)
		part := there.root(there.ec2, copied)
		_, err = recipient.register(recipient.ec2, part)
		requireError(b, err, "InvalidSnapshotID.NotFound", "The snapshot ID '"+part+"' does not exist")
		tagged := func(kind types.ResourceType) func(*ec2.RegisterImageInput) {
			return func(in *ec2.RegisterImageInput) {
				in.TagSpecifications = []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{tag("team", "golden")}}}
			}
		}
		_, err = there.register(there.ec2, part, tagged(types.ResourceTypeSnapshot))
		denied(b, "a registration that tags snapshots (2.5.7)", err)
		must(there.register(there.ec2, part, tagged(types.ResourceTypeImage)))(b)

		// Allowed AMIs hides what others share, never the account's own (2.2.14).
		for _, in := range []fixture{recipient, there} {
			must(in.ec2.ReplaceImageCriteriaInAllowedImagesSettings(b.Context(), &ec2.ReplaceImageCriteriaInAllowedImagesSettingsInput{
				ImageCriteria: []types.ImageCriterionRequest{{ImageProviders: []string{"amazon"}}},
			}))(b)
			must(in.ec2.EnableAllowedImagesSettings(b.Context(), &ec2.EnableAllowedImagesSettingsInput{AllowedImagesSettingsState: types.AllowedImagesSettingsEnabledStateEnabled}))(b)
		}
		_, err = recipient.ec2.RunInstances(b.Context(), oneOf(image), noRetries)
		requireErrorCode(b, err, "InvalidAMIID.NotFound")
		_, err = recipient.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}})
		requireErrorCode(b, err, "InvalidAMIID.NotFound")

		// The owner takes everything back, and the key too. The recipient's copy is its own (1.3.13).
		b.launchPermissionEnds(image)
		for _, part := range []string{root, data} {
			must(0, b.permission(part, false, toUser(member)))(b)
		}
		must(b.kms.DisableKey(b.Context(), &kms.DisableKeyInput{KeyId: &source}))(b)
		is(b, "the recipient's instance of its copy", there.launched(copied).State.Name, types.InstanceStateNameRunning)
	})
}

// launchPermissionEnds takes all launch permissions of an image back.
func (b fixture) launchPermissionEnds(image string) {
	b.Helper()
	must(b.ec2.ResetImageAttribute(b.Context(), &ec2.ResetImageAttributeInput{ImageId: &image, Attribute: types.ResetImageAttributeNameLaunchPermission}))(b)
}

// An account wants to publish an image. Newer accounts are kept from it at first; encrypted things never become public.
func TestScenario_publicAccessBlocked(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		stranger := b.inLocation("222222222222", home)
		everyone := types.LaunchPermission{Group: types.PermissionGroupAll}
		image, encrypted := b.image(""), b.image(b.key())
		sees := func() int {
			return len(ok(stranger.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}}))(b).Images)
		}
		denied(b, "a public image of a newer account (2.2.13)", b.launchPermission(image, everyone))
		is(b, "what a stranger sees then", sees(), 0)
		must(b.ec2.DisableImageBlockPublicAccess(b.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(b)
		time.Sleep(10 * time.Minute) // a change takes so long (2.2.13)
		must(0, b.launchPermission(image, everyone))(b)
		is(b, "what a stranger sees of the public image", sees(), 1)
		requireErrorMessage(b, b.launchPermission(encrypted, everyone), "UnsupportedOperation", "be shared publicly. Specify another snapshot.") // 2.2.3

		root := b.root(b.ec2, image)
		must(0, b.permission(root, true, toAll))(b)
		stranger.imageCopied(image)
		requireError(b, b.permission(b.root(b.ec2, encrypted), true, toAll), "OperationNotPermitted", "Encrypted snapshots cannot be shared publicly.") // 2.1.2
		must(b.ec2.EnableSnapshotBlockPublicAccess(b.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{State: types.SnapshotBlockPublicAccessStateBlockAllSharing}))(b)
		requireError(b, b.permission(b.snapshot(""), true, toAll), "OperationNotPermitted", "Public sharing of snapshots is blocked for this account.") // 2.1.3
		_, err := stranger.copyImage(stranger.ec2, image, newName)
		requireErrorCode(b, err, "InvalidRequest") // 2.2.8: the storage is not public any more
		is(b, "what a stranger launches of the public image (2.2.7)", stranger.launched(image).State.Name, types.InstanceStateNameRunning)
	})
}

// What is billed goes with the data: through launches, copies and registrations, and into no other account where it was bought in AWS
// Marketplace.
func TestScenario_billing(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient, there := b.inLocation(member, home), b.inLocation(owner, away)
		windows := b.rebuilt(b.vendorImage("801119661308", "bp-0002"))
		data := b.copySnapshot(there.ec2, b.root(b.ec2, windows), under(b.keyAt(owner, away)))
		there.settled(there.ec2, data)
		for way, id := range map[string]string{"CopyImage": there.imageCopied(windows), "CopySnapshot and RegisterImage": ok(there.register(there.ec2, data))(b)} {
			got := b.seenImage(there.ec2, id)
			is(b, "the details after "+way+" (2.3.3)", *got.PlatformDetails, "Windows")
			is(b, "the operation after "+way+" (2.3.4)", *got.UsageOperation, "RunInstances:0002")
		}
		_, err := b.register(b.ec2, b.snapshot(""), func(in *ec2.RegisterImageInput) { in.BillingProducts = []string{"bp-0002"} })
		denied(b, "a registration with billing products (2.3.3)", err)

		bought := b.marketplaceImage()
		root := b.root(b.ec2, bought)
		there.imageCopied(bought) // inside the account it may be copied
		b.shareImage(bought)
		b.share(root)
		_, err = recipient.copyImage(recipient.ec2, bought)
		requireError(b, err, "InvalidRequest", "Images from AWS Marketplace cannot be copied to another AWS account") // 2.3.1
		made := b.seenImage(recipient.ec2, recipient.rebuilt(bought))                                                 // 2.3.2: the way that is left
		if len(made.ProductCodes) != 1 || made.ProductCodes[0].ProductCodeType != types.ProductCodeValuesMarketplace {
			t.Errorf("2.3.5: what the recipient built has the codes %v", made.ProductCodes)
		}

		must(b.ec2.DisableImageBlockPublicAccess(b.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(b)
		denied(b, "a public image with a product code (2.3.5)", b.launchPermission(bought, types.LaunchPermission{Group: types.PermissionGroupAll}))
		copied := b.copySnapshot(b.ec2, root)
		b.settled(b.ec2, copied)
		denied(b, "a public copy of a snapshot with a product code (2.1.10, 2.3.5)", b.permission(copied, true, toAll))
		_, err = b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &bought, ProductCodes: []string{"other"}, Description: &types.AttributeValue{Value: aws.String("free")},
		})
		denied(b, "another product code, beside a description (2.3.6)", err)
	})
}

// An image boots with UEFI and a TPM. CopyImage keeps that; by CopySnapshot and RegisterImage everything has to be said again, and what is
// forgotten shows at the launch (2.4).
func TestScenario_firmware(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient := b.inLocation(member, home)
		root := b.snapshot("")
		_, err := b.register(b.ec2, root, everything, func(in *ec2.RegisterImageInput) { in.BootMode = types.BootModeValuesUefiPreferred })
		denied(b, "a TPM with uefi-preferred (2.4)", err)
		_, err = b.register(b.ec2, root, func(in *ec2.RegisterImageInput) { in.KernelId = aws.String("aki-12345678") })
		denied(b, "a kernel for hardware virtualization (2.4)", err)
		for what, wrong := range map[string]func(*ec2.RegisterImageInput){
			"UEFI data for a legacy BIOS":      func(in *ec2.RegisterImageInput) { in.UefiData = aws.String("QU1aTlVFRkk=") },
			"UEFI data that is no base64":      func(in *ec2.RegisterImageInput) { everything(in); in.UefiData = aws.String("AMZNUEFI!") },
			"another enhanced networking mode": func(in *ec2.RegisterImageInput) { in.SriovNetSupport = aws.String("double") },
		} {
			_, err := b.register(b.ec2, root, wrong)
			denied(b, what+" (2.4)", err)
		}
		image := ok(b.register(b.ec2, root, everything))(b)
		must(0, b.tag(b.ec2, image, "golden"))(b)
		b.shareImage(image)
		b.share(root)

		uefi := func(by *ec2.Client, id string) (string, error) {
			got, err := by.DescribeImageAttribute(b.Context(), &ec2.DescribeImageAttributeInput{ImageId: &id, Attribute: types.ImageAttributeNameUefiData})
			if err != nil {
				return "", err
			}
			return *got.UefiData.Value, nil
		}
		_, err = uefi(recipient.ec2, image)
		requireError(b, err, "AuthFailure", "Not authorized for image:"+image) // 2.2.11
		copied := recipient.imageCopied(image, func(in *ec2.CopyImageInput) { in.CopyImageTags = yes })
		checkEverything(t, b.seenImage(recipient.ec2, copied))
		is(b, "the variable store of the copy", ok(uefi(recipient.ec2, copied))(b), "QU1aTlVFRkk=")
		is(b, "another account's tags at the copy", len(b.seenImage(recipient.ec2, copied).Tags), 0)
		is(b, "own tags at the owner's copy", len(b.seenImage(b.ec2, b.imageCopied(image, func(in *ec2.CopyImageInput) { in.CopyImageTags = yes })).Tags), 1)

		part := b.copySnapshot(recipient.ec2, root)
		recipient.settled(recipient.ec2, part)
		forgetting := func(name string, change func(*ec2.RegisterImageInput)) error {
			id := ok(recipient.register(recipient.ec2, part, func(in *ec2.RegisterImageInput) {
				in.Name, in.EnaSupport = aws.String("without "+name), aws.Bool(true)
				change(in)
			}))(b)
			is(b, "the boot mode, without "+name, b.seenImage(recipient.ec2, id).BootMode, "")
			_, err := recipient.ec2.RunInstances(b.Context(), oneOf(id), noRetries)
			return err
		}
		denied(b, "a launch without ENA (2.4.4)", forgetting("ENA", func(in *ec2.RegisterImageInput) { in.EnaSupport = nil }))
		denied(b, "a launch as paravirtual, the default (2.4)", forgetting("virtualization", func(in *ec2.RegisterImageInput) { in.VirtualizationType = nil }))
		denied(b, "a launch of an ARM image on an x86 type (2.4)", forgetting("the right architecture", func(in *ec2.RegisterImageInput) { in.Architecture = types.ArchitectureValuesArm64 }))
		must(0, forgetting("firmware", func(in *ec2.RegisterImageInput) {}))(b)
	})
}

// An image is shared with a part of an organization: its accounts launch it, but cannot copy it until the snapshots are shared account by
// account (2.2.4, 2.2.9).
func TestScenario_organization(t *testing.T) {
	inTree(t, func(o tree) {
		recipient := o.inLocation(member, home)
		unit := *ok(o.client.DescribeOrganizationalUnit(o.Context(), &organizations.DescribeOrganizationalUnitInput{OrganizationalUnitId: &o.unit}))(o).OrganizationalUnit.Arn
		image := o.image("")
		for what, wrong := range map[string]types.LaunchPermission{
			"an organization's id": {OrganizationArn: aws.String("o-exampleorgid")}, "a unit's id": {OrganizationalUnitArn: &o.unit},
		} {
			denied(o, "a share with "+what+" (2.2.4)", o.launchPermission(image, wrong))
		}
		must(0, o.launchPermission(image, types.LaunchPermission{OrganizationalUnitArn: &unit}))(o)
		is(o, "a launch in the unit", recipient.launched(image).State.Name, types.InstanceStateNameRunning)
		_, err := o.inLocation("222222222222", home).ec2.RunInstances(o.Context(), oneOf(image), noRetries)
		requireErrorCode(o, err, "InvalidAMIID.NotFound")
		_, err = recipient.copyImage(recipient.ec2, image, newName)
		requireErrorCode(o, err, "InvalidRequest") // 2.2.9
		o.share(o.fixture.root(o.ec2, image))
		recipient.imageCopied(image)

		// The unit counts as one of a thousand (2.2.5).
		var accounts []types.LaunchPermission
		for n := range 1000 {
			accounts = append(accounts, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("3%011d", n))})
		}
		must(0, o.launchPermission(image, accounts[:999]...))(o)
		denied(o, "entity 1,001 (2.2.5)", o.launchPermission(image, accounts[999]))
		var many []types.LaunchPermission
		for n := range 10001 {
			many = append(many, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("5%011d", n))})
		}
		removing := func(n int) error {
			_, err := o.ec2.ModifyImageAttribute(o.Context(), &ec2.ModifyImageAttributeInput{ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Remove: many[:n]}})
			return err
		}
		must(0, removing(10000))(o)
		denied(o, "10,001 ids in one request (2.2.5)", removing(10001))
	})
}

// An image grows old: it is protected, deprecated, disabled and at last deregistered; its snapshots go with it, but for those that
// something else needs or that are locked.
func TestScenario_imageLifecycle(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		recipient := b.inLocation(member, home)
		common, locked := b.snapshot(""), b.snapshot("")
		image := b.image("", alsoWith(common), func(in *ec2.RegisterImageInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdc"), Ebs: &types.EbsBlockDevice{SnapshotId: &locked}})
		})
		younger := b.image("", alsoWith(common))
		root := b.root(b.ec2, image)
		b.shareImage(image)
		must(b.ec2.LockSnapshot(b.Context(), &ec2.LockSnapshotInput{SnapshotId: &locked, LockMode: types.LockModeCompliance, LockDuration: aws.Int32(365)}))(b)

		deprecate := func(at time.Time) error {
			_, err := b.ec2.EnableImageDeprecation(b.Context(), &ec2.EnableImageDeprecationInput{ImageId: &image, DeprecateAt: &at})
			return err
		}
		denied(b, "deprecation in the past (9.21)", deprecate(time.Now().Add(-time.Hour)))
		denied(b, "deprecation in eleven years (9.21)", deprecate(time.Now().AddDate(11, 0, 0)))
		must(0, deprecate(time.Now().Add(time.Hour)))(b)
		listed := func(by fixture) int {
			return len(ok(by.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{owner}}))(b).Images)
		}
		is(b, "what the recipient lists before (9.21)", listed(recipient), 1)
		time.Sleep(2 * time.Hour)
		is(b, "what the recipient lists after (9.21)", listed(recipient), 0)
		is(b, "a launch by its id (9.21)", recipient.launched(image).State.Name, types.InstanceStateNameRunning)

		must(b.ec2.DisableImage(b.Context(), &ec2.DisableImageInput{ImageId: &image}))(b)
		is(b, "what the owner lists of two, one of them disabled (9.2)", listed(b), 1)
		denied(b, "sharing a disabled image (9.2)", b.launchPermission(image, types.LaunchPermission{UserId: aws.String(member)}))
		_, err := b.ec2.RunInstances(b.Context(), oneOf(image), noRetries)
		denied(b, "launching a disabled image (9.2)", err)
		must(b.ec2.EnableImage(b.Context(), &ec2.EnableImageInput{ImageId: &image}))(b)
		_, err = recipient.ec2.RunInstances(b.Context(), oneOf(image), noRetries)
		requireErrorCode(b, err, "InvalidAMIID.NotFound") // 9.2: the permissions do not come back

		deregister := func() (*ec2.DeregisterImageOutput, error) {
			return b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &image, DeleteAssociatedSnapshots: yes})
		}
		must(b.ec2.EnableImageDeregistrationProtection(b.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: &image, WithCooldown: yes}))(b)
		_, err = deregister()
		denied(b, "deregistering a protected image (A.2.1)", err)
		must(b.ec2.DisableImageDeregistrationProtection(b.Context(), &ec2.DisableImageDeregistrationProtectionInput{ImageId: &image}))(b)
		time.Sleep(23 * time.Hour)
		_, err = deregister()
		denied(b, "deregistering in the cool-down (9.5, A.2.1)", err)
		time.Sleep(time.Hour)
		results := map[string]types.SnapshotReturnCodes{}
		for _, one := range ok(deregister())(b).DeleteSnapshotResults {
			results[*one.SnapshotId] = one.ReturnCode
		}
		is(b, "the root (9.11)", results[root], types.SnapshotReturnCodesSuccess)
		is(b, "what the younger image uses (9.11)", results[common], types.SnapshotReturnCodesWarnSkipped)
		if results[locked] == types.SnapshotReturnCodesSuccess { // 9.3: the image could be deregistered, its snapshot stays
			t.Error("9.3: the locked snapshot is gone")
		}
		_, err = b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &image})
		requireErrorCode(b, err, "InvalidAMIID.Unavailable") // 2.5.9
		is(b, "a launch of the younger image", b.launched(younger).State.Name, types.InstanceStateNameRunning)
		_, err = b.ec2.UnlockSnapshot(b.Context(), &ec2.UnlockSnapshotInput{SnapshotId: &locked})
		denied(b, "unlocking in compliance mode (9.3)", err)
		_, err = b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &locked})
		denied(b, "deleting a locked snapshot (9.3)", err)
		time.Sleep(year)
		must(b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &locked}))(b)
	})
}

// Somebody who shares by hand mistypes nearly everything once; what is refused has changed nothing.
func TestScenario_mistypedRequests(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		root := b.root(b.ec2, image)
		for what, err := range map[string]error{
			"an account's number, for an image (2.2.10)":   b.launchPermission(image, types.LaunchPermission{UserId: aws.String("99999999999")}),
			"the group, for an image (2.2.10)":             b.launchPermission(image, types.LaunchPermission{Group: "everyone"}),
			"an account's number, for a snapshot (A.4.3)":  b.permission(root, true, toUser("99999999999")),
			"the group, for a snapshot (A.4.3)":            b.permission(root, true, types.CreateVolumePermission{Group: "everyone"}),
			"an empty entry, for a snapshot (2.1.6)":       b.permission(root, true, types.CreateVolumePermission{}),
			"nobody, for an image (2.2.10)":                b.launchPermission(image),
			"the snapshot's id (2.5.10)":                   b.permission("snap-00000000000000000", true, toUser(member)),
			"the snapshot's prefix (2.5.10)":               b.permission("snp"+root[4:], true, toUser(member)),
			"a snapshot that is not there (2.1.7, 2.5.10)": b.permission("snap-0fedcba9876543210", true, toUser(member)),
		} {
			denied(b, what, err)
		}
		_, err := b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{ImageId: &image, Attribute: aws.String("description"), Value: aws.String("")})
		requireError(b, err, "MissingParameter", "The request must contain the parameter description") // 2.2.10
		for id, code := range map[string]string{"snp" + root[4:]: "InvalidParameterValue", "snap-00000000000000000": "InvalidSnapshotID.Malformed", "snap-0fedcba9876543210": "InvalidSnapshot.NotFound"} {
			_, err := b.ec2.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
			requireErrorCode(b, err, code) // 2.5.10
		}
		_, err = b.ec2.DeleteSnapshot(b.Context(), &ec2.DeleteSnapshotInput{SnapshotId: aws.String("snap-0fedcba9876543210")})
		requireErrorCode(b, err, "InvalidSnapshot.NotFound") // 2.1.7
		left := ok(b.ec2.DescribeSnapshotAttribute(b.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: &root, Attribute: types.SnapshotAttributeNameCreateVolumePermission}))(b)
		is(b, "whom the snapshot is shared with", len(left.CreateVolumePermissions), 0)
		shown := ok(b.ec2.DescribeImageAttribute(b.Context(), &ec2.DescribeImageAttributeInput{ImageId: &image, Attribute: types.ImageAttributeNameLaunchPermission}))(b)
		is(b, "whom the image is shared with", len(shown.LaunchPermissions), 0)
	})
}
