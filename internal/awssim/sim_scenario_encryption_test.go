// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestScenario_encryptionByDefault builds the same image weekly. After an administrator turns on encryption by default,
// images are encrypted with aws/ebs and cannot be shared, until the EBS default key is a customer managed key.
func TestScenario_encryptionByDefault(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		base := f.createImage("")
		before, running := f.rebuildImage(base), *f.launchAndWait(base).InstanceId
		expectEqual(f, "a build before (1.1.2)", f.imageKey(before), "")

		requireNoError(f.ec2.EnableEbsEncryptionByDefault(f.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(f)
		managed := f.awsManagedKeyARN(owner, home)
		expectEqual(f, "what was there (1.6.3)", f.imageKey(before), "")
		image := func(encrypted *bool) (string, error) {
			created, err := f.ec2.CreateImage(f.Context(),
				&ec2.CreateImageInput{InstanceId: &running, Name: aws.String(
					"of an old instance",
				), BlockDeviceMappings: []types.BlockDeviceMapping{
					{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{Encrypted: encrypted}},
				}})
			if err != nil {
				return "", err
			}
			return *created.ImageId, nil
		}

		_, err := image(yes)
		expectDenied(f, "encrypting a volume by CreateImage (1.2.1)", err)
		expectEqual(f, "an image of an instance that ran before (1.2.1)", f.imageKey(requireOutput(image(no))(f)), "")

		built := f.rebuildImage(base)
		expectEqual(f, "the same build now (1.1.7, 1.2.2)", f.imageKey(built), managed)
		expectEqual(
			f, "a snapshot's copy that says nothing (1.3.3)", f.snapshotKey(f.copySnapshot(
				f.ec2, f.rootSnapshot(f.ec2, before),
			)), managed,
		)

		expectEqual(f, "an image's copy that says nothing (1.4.2)", f.imageKey(f.copyImageAndWait(before)), managed)
		expectEqual(
			f, "a copy to a Region without the setting (1.6.3)",
			f.inLocation(owner, away).imageKey(f.inLocation(owner, away).copyImageAndWait(before)), "",
		)

		// rule 2.2.2: an image with a snapshot that is encrypted with aws/ebs cannot be shared
		requireErrorMessage(
			f, f.addLaunchPermission(built, types.LaunchPermission{UserId: aws.String(member)}), "InvalidParameter",
			"Snapshots encrypted with the AWS Managed CMK can",
		)

		// rule 2.1.1: a snapshot that is encrypted with aws/ebs cannot be shared
		requireError(
			f, f.modifyPermission(f.rootSnapshot(f.ec2, built), true, toUser(member)), "OperationNotPermitted",
			"Encrypted snapshots with EBS default key cannot be shared",
		)

		setDefault := func(key string) error {
			_, err := f.ec2.ModifyEbsDefaultKmsKeyId(f.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &key})
			return err
		}

		pair := requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt,
		}))(f).KeyMetadata

		expectDenied(f, "an RSA key as default key (1.7.4)", setDefault(*pair.Arn))
		expectEqual(
			f, "the default key at first (1.7.1)",
			*requireOutput(f.ec2.GetEbsDefaultKmsKeyId(f.Context(), &ec2.GetEbsDefaultKmsKeyIdInput{}))(f).KmsKeyId,
			"alias/aws/ebs",
		)

		golden := f.createSharedKey()
		requireNoError(f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: &golden,
		}))(f)

		requireNoError(0, setDefault("alias/golden"))(f)
		expectEqual(
			f, "the default key then (1.7.1)",
			*requireOutput(f.ec2.GetEbsDefaultKmsKeyId(f.Context(), &ec2.GetEbsDefaultKmsKeyIdInput{}))(f).KmsKeyId, golden,
		)

		shareable := f.rebuildImage(base)
		expectEqual(f, "the build under the custom default key (1.2.2)", f.imageKey(shareable), golden)
		expectEqual(f, "the earlier build (1.6.2)", f.imageKey(built), managed)
		f.shareImage(shareable) // 2.2.1
		f.shareSnapshot(f.rootSnapshot(f.ec2, shareable))
		expectEqual(
			f, "the recipient's instance", f.inLocation(member, home).launchAndWait(shareable).State.Name,
			types.InstanceStateNameRunning,
		)
	})
}

// TestScenario_copyWithDefaults copies images between Regions and accounts with default parameters. A copy has the
// intended key in each case only if the request has both Encrypted and KmsKeyId.
func TestScenario_copyWithDefaults(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		remote, recipient := f.inLocation(owner, away), f.inLocation(member, home)
		key, theirs := f.createSharedKey(), f.createKeyIn(member, home)
		plain, image := f.createImage(""), f.createImage(key)
		root := f.rootSnapshot(f.ec2, image)
		flag := func(in *ec2.CopyImageInput) { in.Encrypted = yes }

		expectEqual(
			f, "an unencrypted image, the flag alone (1.4.3)", f.imageKey(f.copyImageAndWait(plain, flag)),
			f.awsManagedKeyARN(owner, home),
		)

		expectEqual(
			f, "its snapshot, the flag alone (1.3.2)",
			f.snapshotKey(f.copySnapshot(f.ec2, f.rootSnapshot(f.ec2, plain), func(in *ec2.CopySnapshotInput) {
				in.Encrypted = yes
			})),
			f.awsManagedKeyARN(owner, home),
		)

		expectEqual(f, "an own encrypted image in its Region (1.4.4)", f.imageKey(f.copyImageAndWait(image)), key)
		expectEqual(
			f, "its snapshot there (1.3.4)", f.snapshotKey(f.copySnapshot(f.ec2, root)), f.awsManagedKeyARN(owner, home),
		)

		expectEqual(
			f, "the image in another Region (1.4.9)", remote.imageKey(remote.copyImageAndWait(
				image,
			)), f.awsManagedKeyARN(owner, away),
		)

		f.shareImage(image)
		f.shareSnapshot(root)
		expectEqual(
			f, "the image at the recipient's (1.4.5)", recipient.imageKey(recipient.copyImageAndWait(image)),
			f.awsManagedKeyARN(member, home),
		)

		expectEqual(
			f, "the image under the recipient's own key (1.4.6)",
			recipient.imageKey(recipient.copyImageAndWait(image, imageUnder(theirs))), theirs,
		)

		_, err := f.copyImage(f.ec2, image, func(in *ec2.CopyImageInput) { in.KmsKeyId = &key })
		requireErrorCode(f, err, "InvalidParameterDependency") // 1.4.7
		_, err = f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: &root, KmsKeyId: &key,
		})

		requireErrorCode(f, err, "InvalidParameterDependency") // 1.1.11
		_, err = f.copyImage(f.ec2, image, func(in *ec2.CopyImageInput) { in.Encrypted = no })
		// rule 1.4.8: CopyImage refuses Encrypted=false for an encrypted source
		requireError(
			f, err, "InvalidRequest",
			"Snapshot "+root+" is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.",
		)

		// CopySnapshot refuses a key of another Region at once, CopyImage only later (rules 1.7.5, A.1.6, 1.8.2 and 1.8.5).
		_, err = remote.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion:     aws.String(home),
			SourceSnapshotId: &root,
			Encrypted:        yes,
			KmsKeyId:         &key,
		})

		requireError(f, err, "InvalidParameterValue", "The specified keyId "+key+" is invalid")
		failed := f.waitForImage(
			remote.ec2, requireOutput(remote.copyImage(remote.ec2, image, withUniqueName, imageUnder(key)))(f),
		)

		expectEqual(f, "an image copy under a key of another Region (1.8.5)", failed.State, types.ImageStateFailed)

		// Registering a snapshot again does not encrypt it (rules 1.5.1 to 1.5.3).
		for what, ebs := range map[string]types.EbsBlockDevice{
			"encrypted (1.5.1)":         {SnapshotId: &root, Encrypted: yes},
			"under another key (1.5.2)": {SnapshotId: &root, KmsKeyId: aws.String(f.createKey())},
		} {
			_, err := f.registerImage(f.ec2, root, func(in *ec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs = &ebs })
			expectDenied(f, "a registration "+what, err)
		}

		expectEqual(
			f, "the snapshot registered anew (1.5.3)", f.imageKey(requireOutput(f.registerImage(f.ec2, root))(f)), key,
		)
	})
}

// TestScenario_roleLosesPermissions removes one permission after the other from a role that copies a shared snapshot. A
// missing permission shows at once, in the copy, or never (rules 1.8 and 3.1.8).
func TestScenario_roleLosesPermissions(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := f.createSharedKey()
		shared := f.createSnapshot(source)
		f.shareSnapshot(shared)
		role := f.createRole(member, "copier", trustStatement(rootOf(member), `"sts:*"`), allowStatement(`"*"`))
		copier := f.withConfig(f.sessionCredentials(role, lasting(time.Hour)))
		losing := func(action, key string) {
			requireNoError(f.iam(member).PutRolePolicy(f.Context(),
				&iam.PutRolePolicyInput{
					RoleName: aws.String("copier"), PolicyName: aws.String("own"),
					PolicyDocument: newPolicy(allowStatement(`"*"`), `{"Effect":"Deny","Action":"`+action+`","Resource":"`+key+`"}`),
				}))(f)
		}

		try := func(target string) (types.Snapshot, error) {
			created, err := copier.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
				SourceRegion:     aws.String(home),
				SourceSnapshotId: &shared,
				Encrypted:        yes,
				KmsKeyId:         &target,
			}, withoutEC2Retries)
			if err != nil {
				return types.Snapshot{}, err
			}
			return f.waitForSnapshot(f.ec2At(member, home), *created.SnapshotId), nil
		}

		// Each copy has its own key, because a second copy under the same key would need no new data key (rule 3.1.9).
		for _, harmless := range []string{"kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey"} {
			target := f.createKeyIn(member, home)
			losing(harmless, target)
			expectEqual(
				f, "without "+harmless+" on its own key (3.1.8)", requireOutput(try(target))(f).State, types.SnapshotStateCompleted,
			)
		}

		target := f.createKeyIn(member, home)
		losing("kms:DescribeKey", target)
		_, err := try(target)
		requireError(f, err, "AuthFailure", "Not authorized to use key "+target+" ") // 1.8.3
		for what, lost := range map[string][2]string{
			"grants on its own key (1.8.4)":     {"kms:CreateGrant", target},
			"data keys of its own key (3.1.8)":  {"kms:GenerateDataKeyWithoutPlaintext", target},
			"grants on the owner's key (3.1.3)": {"kms:CreateGrant", source},
		} {
			losing(lost[0], lost[1])
			got := requireOutput(try(target))(f)
			expectEqual(f, "without "+what, got.State, types.SnapshotStateError)
			expectEqual(f, "what it says without "+what, aws.ToString(got.StateMessage), "Given key ID is not accessible")
			expectEqual(f, "its progress without "+what+" (4.6.2)", aws.ToString(got.Progress), "0%")
			expectEqual(f, "its key without "+what+" (1.8.4)", aws.ToString(got.KmsKeyId), target)
		}

		losing("kms:DescribeKey", source)
		expectEqual(
			f, "without a look at the owner's key (3.1.8)", requireOutput(try(target))(f).State, types.SnapshotStateCompleted,
		)

		losing("kms:GenerateDataKeyWithoutPlaintext", target)
		expectEqual(
			f, "a second copy under the same key (3.1.9)", requireOutput(try(target))(f).State, types.SnapshotStateCompleted,
		)

		// A volume of the shared snapshot disappears (rules 1.8.6 and A.4.9), and so does an instance (rule 8.6).
		losing("kms:CreateGrant", target)
		volume := requireOutput(copier.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"),
			SnapshotId:       &shared,
			Encrypted:        yes,
			KmsKeyId:         &target,
		}))(f)

		time.Sleep(time.Minute)
		_, err = copier.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}})
		requireErrorCode(f, err, "InvalidVolume.NotFound")

		// Without the key policy the recipient's own policies do not help (rules 3.1.3 and 3.2.1).
		losing("ec2:DeleteVolume", target)
		f.setKeyPolicy(source)
		expectEqual(f, "without a word in the owner's policy", requireOutput(try(target))(f).State, types.SnapshotStateError)
	})
}
