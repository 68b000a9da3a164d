// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// TestEBSDefaultKey_aliasOrARN covers rules 1.7.1 and 1.7.4. The API shows an alias until a key is set, then an ARN,
// whatever identifier set it.
func TestEBSDefaultKey_aliasOrARN(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		reported := func() string {
			return *requireOutput(f.ec2.GetEbsDefaultKmsKeyId(f.Context(), &ec2.GetEbsDefaultKmsKeyIdInput{}))(f).KmsKeyId
		}

		if got := reported(); got != "alias/aws/ebs" {
			t.Errorf("at first it is %s", got)
		}

		key := f.createKey()
		requireOutput(f.kms.CreateAlias(f.Context(), &kms.CreateAliasInput{
			AliasName: aws.String("alias/golden"), TargetKeyId: &key,
		}))(f)

		for _, id := range []string{
			"alias/golden", key, "arn:aws:kms:us-east-1:" + owner + ":alias/golden", key[len(key)-36:],
		} {
			requireOutput(f.ec2.ModifyEbsDefaultKmsKeyId(f.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &id}))(f)
			if got := reported(); got != key {
				t.Errorf("set as %s it is %s", id, got)
			}
			got := *requireOutput(f.ec2.ResetEbsDefaultKmsKeyId(f.Context(), &ec2.ResetEbsDefaultKmsKeyIdInput{}))(f).KmsKeyId
			if got != "alias/aws/ebs" {
				t.Errorf("reset it is %s", got)
			}
		}
	})
}

// TestEBSDefaultKey_mustBeSymmetric covers rule 1.7.4. The EBS default key must be symmetric.
func TestEBSDefaultKey_mustBeSymmetric(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		pair := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt,
		}))(f).KeyMetadata.Arn
		_, err := f.ec2.ModifyEbsDefaultKmsKeyId(f.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &pair})
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}

// TestEncryptionByDefault_perRegion covers rules 1.6.3 and 1.7.3. The setting applies to one Region and not to existing
// resources.
func TestEncryptionByDefault_perRegion(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		before := f.createSnapshot("")
		requireOutput(f.ec2.EnableEbsEncryptionByDefault(f.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(f)
		here := requireOutput(f.ec2.GetEbsEncryptionByDefault(f.Context(), &ec2.GetEbsEncryptionByDefaultInput{}))(f)
		there := requireOutput(f.ec2At(owner, away).GetEbsEncryptionByDefault(
			f.Context(), &ec2.GetEbsEncryptionByDefaultInput{},
		))(f)
		if !*here.EbsEncryptionByDefault || here.SseType != types.SSETypeSseKms || *there.EbsEncryptionByDefault {
			t.Errorf("here %t (%s), there %t", *here.EbsEncryptionByDefault, here.SseType, *there.EbsEncryptionByDefault)
		}
		if *f.describeSnapshot(f.ec2, before).Encrypted {
			t.Error("what was there is encrypted now")
		}
	})
}
