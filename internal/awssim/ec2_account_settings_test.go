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

// TestEBSDefaultKey_aliasOrARN covers rules 1.7.1 and 1.7.4.
// The default key is told as an alias until one is set, then as an ARN, whatever form it was set in (1.7.1, 1.7.4).
func TestEBSDefaultKey_aliasOrARN(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		told := func() string {
			return *ok(b.ec2.GetEbsDefaultKmsKeyId(b.Context(), &ec2.GetEbsDefaultKmsKeyIdInput{}))(b).KmsKeyId
		}
		if got := told(); got != "alias/aws/ebs" {
			t.Errorf("at first it is %s", got)
		}
		key := b.key()
		ok(b.kms.CreateAlias(b.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/golden"), TargetKeyId: &key}))(b)
		for _, id := range []string{"alias/golden", key, "arn:aws:kms:us-east-1:" + owner + ":alias/golden", key[len(key)-36:]} {
			ok(b.ec2.ModifyEbsDefaultKmsKeyId(b.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &id}))(b)
			if got := told(); got != key {
				t.Errorf("set as %s it is %s", id, got)
			}
			if got := *ok(b.ec2.ResetEbsDefaultKmsKeyId(b.Context(), &ec2.ResetEbsDefaultKmsKeyIdInput{}))(b).KmsKeyId; got != "alias/aws/ebs" {
				t.Errorf("reset it is %s", got)
			}
		}
	})
}

// TestEBSDefaultKey_mustBeSymmetric covers rule 1.7.4.
func TestEBSDefaultKey_mustBeSymmetric(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		pair := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecRsa2048, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt}))(b).KeyMetadata.Arn
		_, err := b.ec2.ModifyEbsDefaultKmsKeyId(b.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &pair})
		requireErrorCode(t, err, "InvalidParameterValue")
	})
}

// TestEncryptionByDefault_perRegion covers rules 1.6.3 and 1.7.3.
// Encryption by default is of one Region, and bears on nothing that is there (1.6.3, 1.7.3).
func TestEncryptionByDefault_perRegion(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		before := b.snapshot("")
		ok(b.ec2.EnableEbsEncryptionByDefault(b.Context(), &ec2.EnableEbsEncryptionByDefaultInput{}))(b)
		here := ok(b.ec2.GetEbsEncryptionByDefault(b.Context(), &ec2.GetEbsEncryptionByDefaultInput{}))(b)
		there := ok(b.at(owner, away).GetEbsEncryptionByDefault(b.Context(), &ec2.GetEbsEncryptionByDefaultInput{}))(b)
		if !*here.EbsEncryptionByDefault || here.SseType != types.SSETypeSseKms || *there.EbsEncryptionByDefault {
			t.Errorf("here %t (%s), there %t", *here.EbsEncryptionByDefault, here.SseType, *there.EbsEncryptionByDefault)
		}
		if *b.seen(b.ec2, before).Encrypted {
			t.Error("what was there is encrypted now")
		}
	})
}
