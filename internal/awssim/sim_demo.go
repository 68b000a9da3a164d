// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Accounts and Region of the world "demo".
const (
	demoSource = "111111111111"
	demoTarget = "999999999999"
	demoRegion = "ap-northeast-1"
)

// demoSourceKeyPolicy allows the target account to copy what the source key encrypts (rule 3.1.3).
const demoSourceKeyPolicy = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Sid": "Owner", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::SOURCE:root"},
      "Action": "kms:*", "Resource": "*"},
    {"Sid": "TargetReads", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::TARGET:root"},
      "Action": ["kms:DescribeKey", "kms:Decrypt", "kms:ReEncrypt*", "kms:CreateGrant"], "Resource": "*"}
  ]
}`

// demoBuilderPermissions allow the builder to create and share images and to assume the target role.
const demoBuilderPermissions = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": ["ec2:*", "kms:*"], "Resource": "*"},
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::TARGET:role/golden-image-target"}
  ]
}`

const demoTrust = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::SOURCE:root"}, "Action": "sts:AssumeRole",
      "Condition": {"StringEquals": {"sts:ExternalId": "golden-images-4711"}}}
  ]
}`

const demoTargetPermissions = `{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": ["ec2:*", "kms:*"], "Resource": "*"}
  ]
}`

// buildDemo builds the world "demo". The source account encrypts by default and owns the unencrypted image base-1 with
// two volumes, the user builder and the key alias/golden-source. The target account has the key alias/golden-target and
// the role golden-image-target, which the source account can assume with an external ID.
func buildDemo(b *Builder) error {
	ctx := context.Background()
	source, target := b.Config(demoSource, demoRegion), b.Config(demoTarget, demoRegion)
	for _, build := range []func() error{
		func() error { return b.registerImage(ctx, ec2.NewFromConfig(source), "base-1", 8, 20) },
		func() error { return encryptByDefault(ctx, ec2.NewFromConfig(source)) },
		func() error {
			return createDemoUser(ctx, iam.NewFromConfig(source), "builder", demoPolicy(demoBuilderPermissions))
		},
		func() error {
			return createDemoKey(ctx, kms.NewFromConfig(source), "alias/golden-source", demoPolicy(demoSourceKeyPolicy))
		},
		func() error { return createDemoKey(ctx, kms.NewFromConfig(target), "alias/golden-target", nil) },
		func() error {
			return createDemoRole(
				ctx, iam.NewFromConfig(target), "golden-image-target", demoPolicy(demoTrust), demoPolicy(demoTargetPermissions),
			)
		},
	} {
		if err := build(); err != nil {
			return err
		}
	}

	return nil
}

func demoPolicy(text string) *string {
	return aws.String(strings.NewReplacer("SOURCE", demoSource, "TARGET", demoTarget).Replace(text))
}

// registerImage registers an image with volumes of the sizes in GiB. The first volume is the root volume.
func (b *Builder) registerImage(ctx context.Context, cloud *ec2.Client, name string, sizes ...int32) error {
	var mappings []ec2types.BlockDeviceMapping
	for i, size := range sizes {
		volume, err := cloud.CreateVolume(ctx, &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(cloud.Options().Region +
				"a"), Size: aws.Int32(size), VolumeType: ec2types.VolumeTypeGp3,
		})
		if err != nil {
			return err
		}

		b.Wait(time.Minute)
		snapshot, err := cloud.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		if err != nil {
			return err
		}

		mappings = append(mappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String("/dev/xvd" + string(rune('a'+
				i))), Ebs: &ec2types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId},
		})

		b.Wait(time.Hour)
		if _, err := cloud.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: volume.VolumeId}); err != nil {
			return err
		}
	}

	_, err := cloud.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name:                aws.String(name),
		Architecture:        ec2types.ArchitectureValuesX8664,
		VirtualizationType:  aws.String("hvm"),
		RootDeviceName:      mappings[0].DeviceName,
		EnaSupport:          aws.Bool(true),
		BlockDeviceMappings: mappings,
	})

	return err
}

func encryptByDefault(ctx context.Context, cloud *ec2.Client) error {
	_, err := cloud.EnableEbsEncryptionByDefault(ctx, &ec2.EnableEbsEncryptionByDefaultInput{})
	return err
}

// createDemoKey creates a key with an alias. Without a policy only the account's own IAM policies control the key.
func createDemoKey(ctx context.Context, keys *kms.Client, alias string, policy *string) error {
	key, err := keys.CreateKey(ctx, &kms.CreateKeyInput{Policy: policy})
	if err != nil {
		return err
	}
	_, err = keys.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(alias), TargetKeyId: key.KeyMetadata.KeyId})
	return err
}

func createDemoUser(ctx context.Context, identities *iam.Client, name string, permissions *string) error {
	if _, err := identities.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String(name)}); err != nil {
		return err
	}
	_, err := identities.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
		UserName: aws.String(name), PolicyName: aws.String("golden-image"), PolicyDocument: permissions,
	})
	return err
}

func createDemoRole(ctx context.Context, identities *iam.Client, name string, trust, permissions *string) error {
	_, err := identities.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(name), AssumeRolePolicyDocument: trust})
	if err != nil {
		return err
	}
	_, err = identities.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String(name), PolicyName: aws.String("golden-image"), PolicyDocument: permissions,
	})
	return err
}
