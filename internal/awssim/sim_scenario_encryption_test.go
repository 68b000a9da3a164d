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

// A builder makes images of one base image, week by week. Then an administrator has everything encrypted by default: the same build comes
// out under aws/ebs and can be given to nobody, until the account's default key is a customer key.
func TestScenario_encryptionByDefault(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		base := b.image("")
		before, running := b.rebuilt(base), *b.launched(base).InstanceId
		is(b, "a build before (1.1.2)", b.keyOfImage(before), "")

		must(b.ec2.EnableEbsEncryptionByDefault(b.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(b)
		managed := b.managedKey(owner, home)
		is(b, "what was there (1.6.3)", b.keyOfImage(before), "")
		image := func(encrypted *bool) (string, error) {
			made, err := b.ec2.CreateImage(b.Context(), &ec2.CreateImageInput{InstanceId: &running, Name: aws.String("of an old instance"), BlockDeviceMappings: []types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{Encrypted: encrypted}},
			}})
			if err != nil {
				return "", err
			}
			return *made.ImageId, nil
		}
		_, err := image(yes)
		denied(b, "encrypting a volume by CreateImage (1.2.1)", err)
		is(b, "an image of an instance that ran before (1.2.1)", b.keyOfImage(ok(image(no))(b)), "")

		built := b.rebuilt(base)
		is(b, "the same build now (1.1.7, 1.2.2)", b.keyOfImage(built), managed)
		is(b, "a snapshot's copy that says nothing (1.3.3)", b.keyOf(b.copySnapshot(b.ec2, b.root(b.ec2, before))), managed)
		is(b, "an image's copy that says nothing (1.4.2)", b.keyOfImage(b.imageCopied(before)), managed)
		is(b, "a copy to a Region without the setting (1.6.3)", b.inLocation(owner, away).keyOfImage(b.inLocation(owner, away).imageCopied(before)), "")
		requireErrorMessage(b, b.launchPermission(built, types.LaunchPermission{UserId: aws.String(member)}), "InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can") // 2.2.2
		requireError(b, b.permission(b.root(b.ec2, built), true, toUser(member)), "OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")               // 2.1.1

		setDefault := func(key string) error {
			_, err := b.ec2.ModifyEbsDefaultKmsKeyId(b.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &key})
			return err
		}
		pair := ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt}))(b).KeyMetadata
		denied(b, "an RSA key as default key (1.7.4)", setDefault(*pair.Arn))
		is(b, "the default key at first (1.7.1)", *ok(b.ec2.GetEbsDefaultKmsKeyId(b.Context(), &ec2.GetEbsDefaultKmsKeyIdInput{}))(b).KmsKeyId, "alias/aws/ebs")
		golden := b.openKey()
		must(b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: &golden}))(b)
		must(0, setDefault("alias/golden"))(b)
		is(b, "the default key then (1.7.1)", *ok(b.ec2.GetEbsDefaultKmsKeyId(b.Context(), &ec2.GetEbsDefaultKmsKeyIdInput{}))(b).KmsKeyId, golden)
		shareable := b.rebuilt(base)
		is(b, "the build under the custom default key (1.2.2)", b.keyOfImage(shareable), golden)
		is(b, "the earlier build (1.6.2)", b.keyOfImage(built), managed)
		b.shareImage(shareable) // 2.2.1
		b.share(b.root(b.ec2, shareable))
		is(b, "the recipient's instance", b.inLocation(member, home).launched(shareable).State.Name, types.InstanceStateNameRunning)
	})
}

// A team copies its images through its Regions and accounts and trusts the defaults. Only where flag and key are both named is every copy
// under the key that was meant.
func TestScenario_copyWithDefaults(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		there, recipient := b.inLocation(owner, away), b.inLocation(member, home)
		key, theirs := b.openKey(), b.keyAt(member, home)
		plain, image := b.image(""), b.image(key)
		root := b.root(b.ec2, image)
		flag := func(in *ec2.CopyImageInput) { in.Encrypted = yes }

		is(b, "an unencrypted image, the flag alone (1.4.3)", b.keyOfImage(b.imageCopied(plain, flag)), b.managedKey(owner, home))
		is(b, "its snapshot, the flag alone (1.3.2)", b.keyOf(b.copySnapshot(b.ec2, b.root(b.ec2, plain), func(in *ec2.CopySnapshotInput) { in.Encrypted = yes })), b.managedKey(owner, home))
		is(b, "an own encrypted image in its Region (1.4.4)", b.keyOfImage(b.imageCopied(image)), key)
		is(b, "its snapshot there (1.3.4)", b.keyOf(b.copySnapshot(b.ec2, root)), b.managedKey(owner, home))
		is(b, "the image in another Region (1.4.9)", there.keyOfImage(there.imageCopied(image)), b.managedKey(owner, away))
		b.shareImage(image)
		b.share(root)
		is(b, "the image at the recipient's (1.4.5)", recipient.keyOfImage(recipient.imageCopied(image)), b.managedKey(member, home))
		is(b, "the image under the recipient's own key (1.4.6)", recipient.keyOfImage(recipient.imageCopied(image, imageUnder(theirs))), theirs)

		_, err := b.copyImage(b.ec2, image, func(in *ec2.CopyImageInput) { in.KmsKeyId = &key })
		requireErrorCode(b, err, "InvalidParameterDependency") // 1.4.7
		_, err = b.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &root, KmsKeyId: &key})
		requireErrorCode(b, err, "InvalidParameterDependency") // 1.1.11
		_, err = b.copyImage(b.ec2, image, func(in *ec2.CopyImageInput) { in.Encrypted = no })
		requireError(b, err, "InvalidRequest", "Snapshot "+root+" is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.") // 1.4.8

		// The key of one Region is none in another: CopySnapshot says so at once, CopyImage later and vaguely (1.7.5, A.1.6, 1.8.2, 1.8.5).
		_, err = there.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &root, Encrypted: yes, KmsKeyId: &key})
		requireError(b, err, "InvalidParameterValue", "The specified keyId "+key+" is invalid")
		failed := b.settledImage(there.ec2, ok(there.copyImage(there.ec2, image, newName, imageUnder(key)))(b))
		is(b, "an image copy under a key of another Region (1.8.5)", failed.State, types.ImageStateFailed)

		// To register the snapshot anew encrypts nothing (1.5.1 to 1.5.3).
		for what, ebs := range map[string]types.EbsBlockDevice{"encrypted (1.5.1)": {SnapshotId: &root, Encrypted: yes}, "under another key (1.5.2)": {SnapshotId: &root, KmsKeyId: aws.String(b.key())}} {
			_, err := b.register(b.ec2, root, func(in *ec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs = &ebs })
			denied(b, "a registration "+what, err)
		}
		is(b, "the snapshot registered anew (1.5.3)", b.keyOfImage(ok(b.register(b.ec2, root))(b)), key)
	})
}

// A role that copies what was shared with it loses one right on the keys after the other. What is missing shows at once, or minutes later
// in the copy, or never (1.8, 3.1.8).
func TestScenario_roleLosesPermissions(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		source := b.openKey()
		shared := b.snapshot(source)
		b.share(shared)
		role := b.role(member, "copier", trusting(rootOf(member), `"sts:*"`), may(`"*"`))
		copier := b.withConfig(b.session(role, lasting(time.Hour)))
		losing := func(action, key string) {
			must(b.iam(member).PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("copier"), PolicyName: aws.String("own"),
				PolicyDocument: policyOf(may(`"*"`), `{"Effect":"Deny","Action":"`+action+`","Resource":"`+key+`"}`)}))(b)
		}
		try := func(target string) (types.Snapshot, error) {
			made, err := copier.ec2.CopySnapshot(b.Context(), &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &shared, Encrypted: yes, KmsKeyId: &target}, noRetries)
			if err != nil {
				return types.Snapshot{}, err
			}
			return b.settled(b.at(member, home), *made.SnapshotId), nil
		}
		// Every copy is under a key of its own: a second one under the same key would need no new data key (3.1.9).
		for _, harmless := range []string{"kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey"} {
			target := b.keyAt(member, home)
			losing(harmless, target)
			is(b, "without "+harmless+" on its own key (3.1.8)", ok(try(target))(b).State, types.SnapshotStateCompleted)
		}
		target := b.keyAt(member, home)
		losing("kms:DescribeKey", target)
		_, err := try(target)
		requireError(b, err, "AuthFailure", "Not authorized to use key "+target+" ") // 1.8.3
		for what, lost := range map[string][2]string{
			"grants on its own key (1.8.4)":     {"kms:CreateGrant", target},
			"data keys of its own key (3.1.8)":  {"kms:GenerateDataKeyWithoutPlaintext", target},
			"grants on the owner's key (3.1.3)": {"kms:CreateGrant", source},
		} {
			losing(lost[0], lost[1])
			got := ok(try(target))(b)
			is(b, "without "+what, got.State, types.SnapshotStateError)
			is(b, "what it says without "+what, aws.ToString(got.StateMessage), "Given key ID is not accessible")
			is(b, "its progress without "+what+" (4.6.2)", aws.ToString(got.Progress), "0%")
			is(b, "its key without "+what+" (1.8.4)", aws.ToString(got.KmsKeyId), target)
		}
		losing("kms:DescribeKey", source)
		is(b, "without a look at the owner's key (3.1.8)", ok(try(target))(b).State, types.SnapshotStateCompleted)
		losing("kms:GenerateDataKeyWithoutPlaintext", target)
		is(b, "a second copy under the same key (3.1.9)", ok(try(target))(b).State, types.SnapshotStateCompleted)

		// A volume of the shared snapshot vanishes (1.8.6, A.4.9), and so does an instance (8.6).
		losing("kms:CreateGrant", target)
		volume := ok(copier.ec2.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), SnapshotId: &shared, Encrypted: yes, KmsKeyId: &target}))(b)
		time.Sleep(time.Minute)
		_, err = copier.ec2.DescribeVolumes(b.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*volume.VolumeId}})
		requireErrorCode(b, err, "InvalidVolume.NotFound")

		// The owner's policy no longer names the account: its own policies do not help (3.1.3, 3.2.1).
		losing("ec2:DeleteVolume", target)
		b.setPolicy(source)
		is(b, "without a word in the owner's policy", ok(try(target))(b).State, types.SnapshotStateError)
	})
}
