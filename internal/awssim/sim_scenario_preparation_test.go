// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

// TestScenario_preparation prepares accounts, keys and a base image by hand. The operator corrects each request that AWS
// refuses.
func TestScenario_preparation(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.prepareOrganization()
		f.prepareKeys()
		snapshot := f.prepareSnapshot()
		image := f.prepareBaseImage(snapshot)
		f.launchBaseImage(image)
	})
}

// prepareOrganization creates an organization and a service control policy, without enabling the policy type first.
func (f fixture) prepareOrganization() {
	f.Helper()
	client := organizations.NewFromConfig(f.world.Config(owner, home))
	requireNoError(client.CreateOrganization(f.Context(), &organizations.CreateOrganizationInput{
		FeatureSet: orgtypes.OrganizationFeatureSetAll,
	}))(f)

	roots := requireOutput(client.ListRoots(f.Context(), &organizations.ListRootsInput{}))(f).Roots
	expectEqual(f, "the policy types of a new organization (B.11.1)", len(roots[0].PolicyTypes), 1)
	requireNoError(client.CreatePolicy(f.Context(), &organizations.CreatePolicyInput{
		Name:        aws.String("no-public-images"),
		Description: aws.String(""),
		Type:        orgtypes.PolicyTypeServiceControlPolicy,
		Content:     newPolicy(`{"Effect":"Deny","Action":"ec2:DisableImageBlockPublicAccess","Resource":"*"}`),
	}))(f)
}

// prepareKeys creates a key with imported material, a signing key and an alias.
func (f fixture) prepareKeys() {
	f.Helper()
	key := f.createKeyInState(kmstypes.KeyStatePendingImport)
	requireNoError(f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(1))))(f)
	requireNoError(f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(2), fresh)))(f)
	_, err := f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(3), fresh))
	requireErrorCode(f, err, "KMSInvalidStateException") // B.5.6: the second material was not rotated yet
	requireNoError(f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(f)
	requireNoError(f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(3), fresh)))(f)

	signing := &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecEccNistP256}
	_, err = f.kms.CreateKey(f.Context(), signing)
	requireErrorMessage(f, err, "ValidationException", "KeyUsage") // B.5.2
	signing.KeyUsage = kmstypes.KeyUsageTypeEncryptDecrypt
	_, err = f.kms.CreateKey(f.Context(), signing)
	requireErrorMessage(f, err, "ValidationException", "not compatible") // B.5.2
	signing.KeyUsage = kmstypes.KeyUsageTypeSignVerify
	requireNoError(f.kms.CreateKey(f.Context(), signing))(f)

	alias := &kms.CreateAliasInput{AliasName: aws.String("images"), TargetKeyId: &key}
	_, err = f.kms.CreateAlias(f.Context(), alias)
	requireErrorMessage(f, err, "ValidationException", "must start with the prefix") // B.5.10
	alias.AliasName = aws.String("alias/images")
	requireNoError(f.kms.CreateAlias(f.Context(), alias))(f)
}

// prepareSnapshot creates a volume and a snapshot of it.
func (f fixture) prepareSnapshot() string {
	f.Helper()
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(8), VolumeType: "io2"}
	_, err := f.ec2.CreateVolume(f.Context(), in)
	requireErrorCode(f, err, "MissingParameter") // B.3.2
	in.Iops, in.Throughput = aws.Int32(1000), aws.Int32(500)
	_, err = f.ec2.CreateVolume(f.Context(), in)
	requireErrorMessage(f, err, "InvalidParameterCombination", "throughput") // B.3.4
	in.Throughput = nil
	created := requireOutput(f.ec2.CreateVolume(f.Context(), in))(f)
	time.Sleep(time.Minute)

	take := &ec2.CreateSnapshotInput{VolumeId: created.VolumeId, Description: aws.String(strings.Repeat("base ", 60))}
	_, err = f.ec2.CreateSnapshot(f.Context(), take)
	requireErrorMessage(f, err, "InvalidParameterValue", "maximum of 255") // B.8.1
	take.Description = aws.String("base")
	snapshot := *requireOutput(f.ec2.CreateSnapshot(f.Context(), take))(f).SnapshotId
	f.waitForSnapshot(f.ec2, snapshot)

	label := &ec2.CreateTagsInput{Resources: []string{snapshot}, Tags: []types.Tag{tag("notes", strings.Repeat("n", 257))}}
	_, err = f.ec2.CreateTags(f.Context(), label)
	requireErrorMessage(f, err, "InvalidParameterValue", "maximum length of 256") // B.7.1
	label.Tags = []types.Tag{tag("notes", strings.Repeat("n", 256))}
	requireNoError(f.ec2.CreateTags(f.Context(), label))(f)
	return snapshot
}

// prepareBaseImage registers an image whose root device is mapped as a disk.
func (f fixture) prepareBaseImage(snapshot string) string {
	f.Helper()
	description := "Base – image"
	register := func() (string, error) {
		return f.registerImage(f.ec2, snapshot, func(in *ec2.RegisterImageInput) {
			in.Description, in.EnaSupport = &description, aws.Bool(true)
			in.BlockDeviceMappings[0].DeviceName = aws.String("/dev/sda")
		})
	}

	_, err := register()
	requireErrorMessage(f, err, "InvalidParameterValue", "ASCII") // B.8.2
	description = "Base image"
	return requireOutput(register())(f) // B.8.3
}

// launchBaseImage launches the image with a root volume that is at least as large as the snapshot.
func (f fixture) launchBaseImage(image string) {
	f.Helper()
	in := oneInstance(image)
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{
		DeviceName: aws.String("/dev/sda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(4)},
	}}

	_, err := f.ec2.RunInstances(f.Context(), in)
	requireErrorMessage(f, err, "InvalidBlockDeviceMapping", "smaller than snapshot") // B.3.6
	in.BlockDeviceMappings[0].Ebs.VolumeSize = aws.Int32(16)
	requireNoError(f.ec2.RunInstances(f.Context(), in))(f)
}
