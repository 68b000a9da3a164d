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
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// TestScenario_preparation prepares accounts, keys and a base image by hand. The operator corrects each request that
// AWS refuses.
func TestScenario_preparation(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.prepareOrganization()
		f.prepareKeys()
		snapshot := f.prepareSnapshot()
		image := f.prepareBaseImage(snapshot)
		f.launchBaseImage(image)
		f.publishBaseImage(image)
	})
}

// publishBaseImage writes a parameter with tags that SSM takes.
func (f fixture) publishBaseImage(image string) {
	f.Helper()
	in := &ssm.PutParameterInput{
		Name:  aws.String("/base/ami"),
		Value: &image,
		Type:  ssmtypes.ParameterTypeString,
		Tags:  []ssmtypes.Tag{{Key: aws.String("owner"), Value: aws.String("R&D")}},
	}

	_, err := f.ssm(owner).PutParameter(f.Context(), in)
	requireErrorMessage(f, err, "ValidationException", "tags.1.member.value") // B.7.3
	in.Tags[0].Value = aws.String("Research")
	requireNoError(f.ssm(owner).PutParameter(f.Context(), in))(f)
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
	requireErrorMessage(f, err, "InvalidParameterValue", "exceeds 255 characters") // B.8.1
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

// TestScenario_retention looks for references before it deregisters an image, in an account without a default VPC.
func TestScenario_retention(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.RemoveDefaultVPC(member, home)
		theirs := f.inLocation(member, home)
		old := theirs.createImage("")
		_, err := theirs.ec2.RunInstances(f.Context(), oneInstance(old))
		requireErrorCode(f, err, "VPCIdNotSpecified") // B.12.1

		mac := f.createImage("", func(in *ec2.RegisterImageInput) { in.Architecture = types.ArchitectureValuesX8664Mac })
		in := oneInstance(mac)
		in.InstanceType = "mac1.metal"
		_, err = f.ec2.RunInstances(f.Context(), in)
		requireErrorCode(f, err, "Unsupported") // B.12.2
		in.Placement = &types.Placement{Tenancy: types.TenancyHost}
		_, err = f.ec2.RunInstances(f.Context(), in)
		requireErrorCode(f, err, "InsufficientHostCapacity") // B.12.3
		f.world.AllocateHost(owner, home, "mac1.metal")
		instance := *requireOutput(f.ec2.RunInstances(f.Context(), in))(f).Instances[0].InstanceId
		time.Sleep(2 * time.Minute)

		f.expectReferences(mac, instance)
		requireNoError(f.ec2.TerminateInstances(f.Context(), &ec2.TerminateInstancesInput{
			InstanceIds: []string{instance},
		}))(f)
		time.Sleep(2 * time.Minute)
		running := f.references(f.ec2, mac, types.ResourceTypeRequest{
			ResourceType: types.ImageReferenceResourceTypeEc2Instance,
			ResourceTypeOptions: []types.ResourceTypeOption{{
				OptionName: types.ImageReferenceOptionNameStateName, OptionValues: []string{"pending", "running"},
			}},
		})
		expectEqual(f, "references of running instances (B.10.4)", len(running), 0)
	})
}

// references returns the references to an image.
func (f fixture) references(
	client *ec2.Client, image string, kinds ...types.ResourceTypeRequest,
) []types.ImageReference {
	f.Helper()
	in := &ec2.DescribeImageReferencesInput{ImageIds: []string{image}, ResourceTypes: kinds}
	return requireOutput(client.DescribeImageReferences(f.Context(), in))(f).ImageReferences
}

// expectReferences expects a running instance as the only reference. It corrects requests that AWS refuses.
func (f fixture) expectReferences(image, instance string) {
	f.Helper()
	in := &ec2.DescribeImageReferencesInput{}
	for range 11 {
		in.ImageIds = append(in.ImageIds, image)
	}

	_, err := f.ec2.DescribeImageReferences(f.Context(), in)
	requireErrorCode(f, err, "InvalidParameterValue") // B.10.1
	in.ImageIds = in.ImageIds[:1]
	_, err = f.ec2.DescribeImageReferences(f.Context(), in)
	requireErrorCode(f, err, "MissingParameter") // B.10.2

	in.IncludeAllResourceTypes = aws.Bool(true)
	role := f.createRole(owner, "cleaner", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ec2:*"`))
	_, err = ec2.NewFromConfig(f.sessionCredentials(role)).DescribeImageReferences(f.Context(), in)
	requireErrorMessage(f, err, "UnauthorizedOperation", "ssm:DescribeParameters") // B.10.3
	found := requireOutput(f.ec2.DescribeImageReferences(f.Context(), in))(f).ImageReferences
	if len(found) != 1 || !strings.HasSuffix(*found[0].Arn, "instance/"+instance) {
		f.Errorf("references: %+v", found)
	}
}

// TestScenario_usageReport asks which accounts use a shared image.
func TestScenario_usageReport(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		data := &types.RequestLaunchTemplateData{ImageId: &image}
		for _, account := range []string{owner, member} {
			client := f.inLocation(account, home).ec2
			requireNoError(client.CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{
				LaunchTemplateName: aws.String("golden"), LaunchTemplateData: data,
			}))(f)
		}
		requireNoError(f.ec2.CreateImageUsageReport(f.Context(), &ec2.CreateImageUsageReportInput{
			ImageId:       &image,
			ResourceTypes: []types.ImageUsageResourceTypeRequest{{ResourceType: aws.String("ec2:LaunchTemplate")}},
		}))(f)
		entries := func() []types.ImageUsageReportEntry {
			in := &ec2.DescribeImageUsageReportEntriesInput{ImageIds: []string{image}}
			return requireOutput(f.ec2.DescribeImageUsageReportEntries(f.Context(), in))(f).ImageUsageReportEntries
		}
		expectEqual(f, "entries of a pending report (9.26)", len(entries()), 0)
		time.Sleep(time.Hour)
		expectEqual(f, "entries of other accounts (9.25)", len(entries()), 1)
	})
}
