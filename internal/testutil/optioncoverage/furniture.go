// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// Furniture makes what options name in a world, with the rights of each account's root. It sleeps until things are there.
type Fixtures struct {
	*testing.T
	World  *awssim.World
	Region string
}

func (f Fixtures) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f Fixtures) ec2(account string) *ec2.Client {
	return ec2.NewFromConfig(f.World.Config(account, f.Region))
}

func (f Fixtures) iam(account string) *iam.Client {
	return iam.NewFromConfig(f.World.Config(account, f.Region))
}

// Key makes a key in a Region that accounts may use.
func (f Fixtures) Key(account, region, alias string, users ...string) {
	f.Helper()
	client := kms.NewFromConfig(f.World.Config(account, region))
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::` + strings.Join(users, `:root","arn:aws:iam::`) + `:root"]},"Action":"kms:*","Resource":"*"}]}`
	made, err := client.CreateKey(f.Context(), &kms.CreateKeyInput{Policy: &policy})
	f.must(err)
	_, err = client.CreateAlias(f.Context(), &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: made.KeyMetadata.KeyId})
	f.must(err)
}

const everything = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// Roles makes two roles with all rights in each account, which another account may assume: plain, and strict, which asks for an external id; and the
// managed policy everything.
func (f Fixtures) Roles(admitted string, accounts ...string) {
	f.Helper()
	for _, account := range accounts {
		_, err := f.iam(account).CreatePolicy(f.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("everything"), PolicyDocument: aws.String(everything)})
		f.must(err)
		for _, role := range []struct{ name, condition string }{{"plain", ""}, {"strict", `,"Condition":{"StringEquals":{"sts:ExternalId":"hush-strict"}}`}} {
			trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]%s}]}`, admitted, role.condition)
			_, err := f.iam(account).CreateRole(f.Context(), &iam.CreateRoleInput{RoleName: &role.name, AssumeRolePolicyDocument: &trust})
			f.must(err)
			_, err = f.iam(account).PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{RoleName: &role.name, PolicyName: aws.String("all"), PolicyDocument: aws.String(everything)})
			f.must(err)
		}
	}
	time.Sleep(time.Minute)
}

// AutoScaling makes the service-linked role of Auto Scaling.
func (f Fixtures) AutoScaling(account string) {
	f.Helper()
	_, err := f.iam(account).CreateServiceLinkedRole(f.Context(), &iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("autoscaling.amazonaws.com")})
	f.must(err)
}

// Profiles writes a credentials file, and is its path: default has a key, each account a profile of its own root, who may assume no role.
func (f Fixtures) Profiles(accessKey, secretKey string, accounts ...string) string {
	f.Helper()
	text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", accessKey, secretKey)
	for _, account := range accounts {
		text += fmt.Sprintf("[%s]\naws_access_key_id = %s\naws_secret_access_key = secret\n", account, account)
	}
	path := filepath.Join(f.TempDir(), "credentials")
	f.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// Session are the options of a session that an access key of an account begins. It lasts for a day and a half.
func (f Fixtures) Session(account, accessKey, secretKey string) map[string]any {
	f.Helper()
	cfg := f.World.Config(account, f.Region)
	cfg.Credentials = credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")
	made, err := sts.NewFromConfig(cfg).GetSessionToken(f.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(36 * 3600)})
	f.must(err)
	return map[string]any{"access_key": *made.Credentials.AccessKeyId, "secret_key": *made.Credentials.SecretAccessKey, "token": *made.Credentials.SessionToken}
}

// Snapshot makes one of 10 GiB under a key, "" for none.
func (f Fixtures) Snapshot(account, key string) string {
	f.Helper()
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(f.Region + "a"), Size: aws.Int32(10)}
	if key != "" {
		in.Encrypted, in.KmsKeyId = aws.Bool(true), &key
	}
	volume, err := f.ec2(account).CreateVolume(f.Context(), in)
	f.must(err)
	time.Sleep(time.Minute)
	made, err := f.ec2(account).CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	f.must(err)
	time.Sleep(time.Hour)
	return *made.SnapshotId
}

// Image registers one of a snapshot.
func (f Fixtures) Image(account, name, snapshot string, products ...string) string {
	f.Helper()
	made, err := f.ec2(account).RegisterImage(f.Context(), &ec2.RegisterImageInput{Name: &name, RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"), BillingProducts: products,
		Architecture: ec2types.ArchitectureValuesX8664, EnaSupport: aws.Bool(true),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}}}})
	f.must(err)
	time.Sleep(5 * time.Minute)
	return *made.ImageId
}

// Windows is an image that AWS lets an account use and copy.
func (f Fixtures) Windows(buyer string) string {
	f.Helper()
	const vendor = "801119661308"
	snapshot := f.Snapshot(vendor, "")
	image := f.Image(vendor, "windows", snapshot, "bp-0002")
	_, err := f.ec2(vendor).ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{ImageId: &image, LaunchPermission: &ec2types.LaunchPermissionModifications{Add: []ec2types.LaunchPermission{{UserId: &buyer}}}})
	f.must(err)
	_, err = f.ec2(vendor).ModifySnapshotAttribute(f.Context(), &ec2.ModifySnapshotAttributeInput{SnapshotId: &snapshot, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: []ec2types.CreateVolumePermission{{UserId: &buyer}}}})
	f.must(err)
	return image
}

// Copied is a copy of an image that an account makes of it.
func (f Fixtures) Copied(account, image string) string {
	f.Helper()
	made, err := f.ec2(account).CopyImage(f.Context(), &ec2.CopyImageInput{Name: aws.String("copied"), SourceImageId: &image, SourceRegion: &f.Region})
	f.must(err)
	time.Sleep(time.Hour)
	return *made.ImageId
}

// Deprecated lets an image be deprecated after some time.
func (f Fixtures) Deprecated(account, image string, after time.Duration) {
	f.Helper()
	_, err := f.ec2(account).EnableImageDeprecation(f.Context(), &ec2.EnableImageDeprecationInput{ImageId: &image, DeprecateAt: aws.Time(time.Now().Add(after))})
	f.must(err)
}

// LaunchTemplate makes one of two versions with the name web, and is its id.
func (f Fixtures) LaunchTemplate(account string) string {
	f.Helper()
	name := aws.String("web")
	made, err := f.ec2(account).CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: name, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT3Nano}})
	f.must(err)
	_, err = f.ec2(account).CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: name, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT3Micro}})
	f.must(err)
	return *made.LaunchTemplate.LaunchTemplateId
}

// Subnet is one of an account's own.
func (f Fixtures) Subnet(account string) string {
	f.Helper()
	subnets, err := f.ec2(account).DescribeSubnets(f.Context(), &ec2.DescribeSubnetsInput{})
	f.must(err)
	return *subnets.Subnets[0].SubnetId
}

// Parameter makes one that names no image.
func (f Fixtures) Parameter(account, name string) {
	f.Helper()
	_, err := ssm.NewFromConfig(f.World.Config(account, f.Region)).PutParameter(f.Context(), &ssm.PutParameterInput{Name: &name, Value: aws.String("nothing"), Type: ssmtypes.ParameterTypeString})
	f.must(err)
}
