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

// Fixtures creates the resources that options name, as the root user of each account. It sleeps until they are visible.
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

// Key creates a key that accounts can use.
func (f Fixtures) Key(account, region, alias string, users ...string) {
	f.Helper()
	client := kms.NewFromConfig(f.World.Config(account, region))
	principals := "arn:aws:iam::" + strings.Join(users, `:root","arn:aws:iam::`) + ":root"
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + principals +
		`"]},"Action":"kms:*","Resource":"*"}]}`
	created, err := client.CreateKey(f.Context(), &kms.CreateKeyInput{Policy: &policy})
	f.must(err)
	_, err = client.CreateAlias(
		f.Context(),
		&kms.CreateAliasInput{AliasName: &alias, TargetKeyId: created.KeyMetadata.KeyId},
	)
	f.must(err)
}

const allowAllPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// Roles creates two roles with all permissions in each account, which another account can assume. The role "strict"
// requires an external id, the role "plain" does not. It also creates the managed policy "everything".
func (f Fixtures) Roles(trusted string, accounts ...string) {
	f.Helper()
	for _, account := range accounts {
		_, err := f.iam(account).CreatePolicy(f.Context(), &iam.CreatePolicyInput{
			PolicyName:     aws.String("everything"),
			PolicyDocument: aws.String(allowAllPolicy),
		})
		f.must(err)
		f.role(account, "plain", trusted, "")
		f.role(account, "strict", trusted, `,"Condition":{"StringEquals":{"sts:ExternalId":"hush-strict"}}`)
	}
	time.Sleep(time.Minute)
}

func (f Fixtures) role(account, name, trusted, condition string) {
	f.Helper()
	trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow",`+
		`"Principal":{"AWS":"arn:aws:iam::%s:root"},`+
		`"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]%s}]}`, trusted, condition)
	_, err := f.iam(account).CreateRole(f.Context(), &iam.CreateRoleInput{
		RoleName:                 &name,
		AssumeRolePolicyDocument: &trust,
	})
	f.must(err)
	_, err = f.iam(account).PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
		RoleName:       &name,
		PolicyName:     aws.String("all"),
		PolicyDocument: aws.String(allowAllPolicy),
	})
	f.must(err)
}

// AutoScaling creates the service-linked role of Auto Scaling.
func (f Fixtures) AutoScaling(account string) {
	f.Helper()
	_, err := f.iam(account).CreateServiceLinkedRole(f.Context(), &iam.CreateServiceLinkedRoleInput{
		AWSServiceName: aws.String("autoscaling.amazonaws.com"),
	})
	f.must(err)
}

// Profiles writes a credentials file and returns its path. The profile "default" has the access key. Each account has a
// profile of its root user, who cannot assume a role.
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

// Session returns the options of a session of 36 hours for an access key.
func (f Fixtures) Session(account, accessKey, secretKey string) map[string]any {
	f.Helper()
	cfg := f.World.Config(account, f.Region)
	cfg.Credentials = credentials.NewStaticCredentialsProvider(accessKey, secretKey, "")
	created, err := sts.NewFromConfig(cfg).GetSessionToken(f.Context(), &sts.GetSessionTokenInput{
		DurationSeconds: aws.Int32(36 * 3600),
	})
	f.must(err)
	return map[string]any{
		"access_key": *created.Credentials.AccessKeyId,
		"secret_key": *created.Credentials.SecretAccessKey,
		"token":      *created.Credentials.SessionToken,
	}
}

// Snapshot creates a snapshot of 10 GiB and returns its id. It is encrypted if key is not empty.
func (f Fixtures) Snapshot(account, key string) string {
	f.Helper()
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(f.Region + "a"), Size: aws.Int32(10)}
	if key != "" {
		in.Encrypted, in.KmsKeyId = aws.Bool(true), &key
	}
	volume, err := f.ec2(account).CreateVolume(f.Context(), in)
	f.must(err)
	time.Sleep(time.Minute)
	created, err := f.ec2(account).CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
	f.must(err)
	time.Sleep(time.Hour)
	return *created.SnapshotId
}

// Image registers an image of a snapshot and returns its id.
func (f Fixtures) Image(account, name, snapshot string, products ...string) string {
	f.Helper()
	created, err := f.ec2(account).RegisterImage(f.Context(), &ec2.RegisterImageInput{
		Name:               &name,
		RootDeviceName:     aws.String("/dev/xvda"),
		VirtualizationType: aws.String("hvm"),
		BillingProducts:    products,
		Architecture:       ec2types.ArchitectureValuesX8664,
		EnaSupport:         aws.Bool(true),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{
			DeviceName: aws.String("/dev/xvda"),
			Ebs:        &ec2types.EbsBlockDevice{SnapshotId: &snapshot},
		}},
	})
	f.must(err)
	time.Sleep(5 * time.Minute)
	return *created.ImageId
}

// Windows creates a Windows image of another account that buyer can launch and copy. It returns the id.
func (f Fixtures) Windows(buyer string) string {
	f.Helper()
	const vendor = "801119661308"
	snapshot := f.Snapshot(vendor, "")
	image := f.Image(vendor, "windows", snapshot, "bp-0002")
	_, err := f.ec2(vendor).ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: &image,
		LaunchPermission: &ec2types.LaunchPermissionModifications{
			Add: []ec2types.LaunchPermission{{UserId: &buyer}},
		},
	})
	f.must(err)
	_, err = f.ec2(vendor).ModifySnapshotAttribute(f.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &snapshot,
		Attribute:  ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
			Add: []ec2types.CreateVolumePermission{{UserId: &buyer}},
		},
	})
	f.must(err)
	return image
}

// Copied copies an image into an account and returns the id of the copy.
func (f Fixtures) Copied(account, image string) string {
	f.Helper()
	created, err := f.ec2(account).CopyImage(f.Context(), &ec2.CopyImageInput{
		Name:          aws.String("copied"),
		SourceImageId: &image,
		SourceRegion:  &f.Region,
	})
	f.must(err)
	time.Sleep(time.Hour)
	return *created.ImageId
}

// Deprecated deprecates an image after a duration.
func (f Fixtures) Deprecated(account, image string, after time.Duration) {
	f.Helper()
	_, err := f.ec2(account).EnableImageDeprecation(f.Context(), &ec2.EnableImageDeprecationInput{
		ImageId:     &image,
		DeprecateAt: aws.Time(time.Now().Add(after)),
	})
	f.must(err)
}

// LaunchTemplate creates the launch template "web" with two versions and returns its id.
func (f Fixtures) LaunchTemplate(account string) string {
	f.Helper()
	name := aws.String("web")
	created, err := f.ec2(account).CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: name,
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT3Nano},
	})
	f.must(err)
	_, err = f.ec2(account).CreateLaunchTemplateVersion(f.Context(), &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateName: name,
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT3Micro},
	})
	f.must(err)
	return *created.LaunchTemplate.LaunchTemplateId
}

// Subnet returns the id of a subnet of an account.
func (f Fixtures) Subnet(account string) string {
	f.Helper()
	subnets, err := f.ec2(account).DescribeSubnets(f.Context(), &ec2.DescribeSubnetsInput{})
	f.must(err)
	return *subnets.Subnets[0].SubnetId
}

// Parameter creates an SSM parameter that does not name an image.
func (f Fixtures) Parameter(account, name string) {
	f.Helper()
	client := ssm.NewFromConfig(f.World.Config(account, f.Region))
	_, err := client.PutParameter(f.Context(), &ssm.PutParameterInput{
		Name:  &name,
		Value: aws.String("nothing"),
		Type:  ssmtypes.ParameterTypeString,
	})
	f.must(err)
}
