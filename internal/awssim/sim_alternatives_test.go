// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// withAndWithout runs a test without and with an alternative.
func withAndWithout(t *testing.T, a Alternative, test func(f fixture, chosen bool)) {
	t.Helper()
	for _, chosen := range []bool{false, true} {
		runWithFixture(t, func(f fixture) {
			if chosen {
				WithAlternatives(a)(f.world)
			}
			test(f, chosen)
		})
	}
}

// TestAlternative_copiedImage checks what a copied image has of its source.
func TestAlternative_copiedImage(t *testing.T) {
	describe := func(f fixture) (source, copied types.Image) {
		from := f.createImage("", func(in *ec2.RegisterImageInput) {
			in.Description = aws.String("base")
			again := in.BlockDeviceMappings[0]
			again.DeviceName = aws.String("/dev/sdb")
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, again)
		})
		requireNoError(f.ec2.EnableImageDeprecation(f.Context(), &ec2.EnableImageDeprecationInput{
			ImageId: &from, DeprecateAt: aws.Time(time.Now().Add(1000 * time.Hour)),
		}))(f)
		return f.describeImage(f.ec2, from), f.describeImage(f.ec2, f.copyImageAndWait(from))
	}

	withAndWithout(t, InheritedDescription, func(f fixture, chosen bool) {
		_, copied := describe(f)
		expectEqual(f, "the description is inherited", aws.ToString(copied.Description) == "base", chosen)
	})
	withAndWithout(t, InheritedDeprecation, func(f fixture, chosen bool) {
		_, copied := describe(f)
		expectEqual(f, "the deprecation is inherited", copied.DeprecationTime != nil, chosen)
	})
	withAndWithout(t, OneCopyForAllDevices, func(f fixture, chosen bool) {
		_, copied := describe(f)
		one, two := copied.BlockDeviceMappings[0].Ebs.SnapshotId, copied.BlockDeviceMappings[1].Ebs.SnapshotId
		expectEqual(f, "both devices have one copy", *one == *two, chosen)
	})
}

// TestAlternative_copiedSnapshot checks the volume ID and the key of a copied snapshot.
func TestAlternative_copiedSnapshot(t *testing.T) {
	withAndWithout(t, ArbitraryVolumeIDs, func(f fixture, chosen bool) {
		copied := f.waitForSnapshot(f.ec2, f.copySnapshot(f.ec2, f.createSnapshot("")))
		expectEqual(f, "the volume ID is arbitrary", *copied.VolumeId != copiedVolume, chosen)
	})
	withAndWithout(t, ManagedKeyForCopies, func(f fixture, chosen bool) {
		key := f.createKey()
		requireNoError(f.ec2.ModifyEbsDefaultKmsKeyId(f.Context(), &ec2.ModifyEbsDefaultKmsKeyIdInput{KmsKeyId: &key}))(f)
		copied := f.copySnapshot(f.ec2, f.createSnapshot(f.createKey()))
		expectEqual(f, "the copy has aws/ebs", f.snapshotKey(copied) == f.awsManagedKeyARN(owner, home), chosen)
	})
	withAndWithout(t, KeyStateChecked, func(f fixture, chosen bool) {
		key := f.createKeyInState(kmstypes.KeyStatePendingImport)
		_, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: aws.String(f.createSnapshot("")), Encrypted: aws.Bool(true),
			KmsKeyId: &key,
		})
		expectEqual(f, "the key is refused", err != nil, chosen)
	})
}

// TestAlternative_imageCopies checks the key and the quota of image copies.
func TestAlternative_imageCopies(t *testing.T) {
	withAndWithout(t, ImageKeyChecked, func(f fixture, chosen bool) {
		key := f.createKey()
		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		_, err := f.copyImage(f.ec2, f.createImage(""), withUniqueName, func(in *ec2.CopyImageInput) {
			in.Encrypted, in.KmsKeyId = aws.Bool(true), &key
		})
		expectEqual(f, "the key is refused", err != nil, chosen)
	})
	withAndWithout(t, ImageCopiesCounted, func(f fixture, chosen bool) {
		f.world.SetSnapshotCopyQuota(owner, 1)
		source := f.createSnapshot("")
		requireNoError(f.copyImage(f.ec2, f.createImage(""), withUniqueName))(f)
		_, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: &source,
		}, withoutEC2Retries)
		expectEqual(f, "a snapshot copy is refused", err != nil, chosen)
	})
}

// TestAlternative_keptSnapshots checks whether a deregistration deletes the snapshots.
func TestAlternative_keptSnapshots(t *testing.T) {
	withAndWithout(t, KeptSnapshots, func(f fixture, chosen bool) {
		image := f.createImage("")
		root := f.rootSnapshot(f.ec2, image)
		requireNoError(f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{
			ImageId: &image, DeleteAssociatedSnapshots: aws.Bool(true),
		}))(f)
		_, err := f.ec2.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{root}})
		expectEqual(f, "the snapshot still exists", err == nil, chosen)
	})
}

// TestAlternative_refusals checks the refusals that AWS does not publish: copy quotas, protected images and locks.
func TestAlternative_refusals(t *testing.T) {
	withAndWithout(t, OtherRefusals, func(f fixture, chosen bool) {
		f.world.SetSnapshotCopyQuota(owner, 1)
		source := f.createSnapshot("")
		f.copySnapshot(f.ec2, source)
		_, err := f.ec2.CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
			SourceRegion: aws.String(home), SourceSnapshotId: &source,
		}, withoutEC2Retries)
		text := requireErrorCode(f, err, "ResourceLimitExceeded").ErrorMessage()
		expectEqual(f, "the quota is in the message", strings.Contains(text, "The limit is 1"), !chosen)
		var response *smithyhttp.ResponseError
		if !errors.As(err, &response) {
			f.Fatalf("the error has no response: %v", err)
		}
		status := map[bool]int{false: http.StatusBadRequest, true: http.StatusServiceUnavailable}
		expectEqual(f, "the status", response.HTTPStatusCode(), status[chosen])
	})
	withAndWithout(t, OtherRefusals, func(f fixture, chosen bool) {
		image := f.createImage("")
		requireNoError(f.ec2.EnableImageDeregistrationProtection(
			f.Context(), &ec2.EnableImageDeregistrationProtectionInput{ImageId: &image},
		))(f)
		_, err := f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &image})
		code := map[bool]string{false: "OperationNotPermitted", true: "InvalidRequest"}
		requireErrorCode(f, err, code[chosen])
	})
	withAndWithout(t, OtherRefusals, func(f fixture, chosen bool) {
		locked := f.createSnapshot("")
		requireNoError(f.ec2.LockSnapshot(f.Context(), &ec2.LockSnapshotInput{
			SnapshotId: &locked, LockMode: types.LockModeGovernance, LockDuration: aws.Int32(1),
		}))(f)
		_, err := f.ec2.DeleteSnapshot(f.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &locked})
		text := requireErrorCode(f, err, "OperationNotPermitted").ErrorMessage()
		expectEqual(f, "the message is another one", strings.HasPrefix(text, "A lock prevents"), chosen)
	})
}

// TestAlternative_hiddenParameter creates a parameter twice, the second time before the first version can be read.
func TestAlternative_hiddenParameter(t *testing.T) {
	withAndWithout(t, HiddenParameterTaken, func(f fixture, chosen bool) {
		client, image := f.ssm(owner), f.createImage("")
		requireNoError(f.putParameter(client, "/golden", image, ofImage))(f)
		_, err := client.GetParameter(f.Context(), &ssm.GetParameterInput{Name: aws.String("/golden")})
		requireErrorCode(f, err, "ParameterNotFound")
		_, err = f.putParameter(client, "/golden", image, ofImage)
		if chosen {
			requireErrorCode(f, err, "ParameterAlreadyExists")
			return
		}
		if err != nil {
			f.Errorf("the second creation failed: %v", err)
		}
	})
}

// TestAlternative_directCopy copies an encrypted snapshot of another account without permission to decrypt it.
func TestAlternative_directCopy(t *testing.T) {
	for _, region := range []string{home, away} {
		withAndWithout(t, DocumentedKeyPermissions, func(f fixture, chosen bool) {
			sourceKey, targetKey := f.createSharedKey(), f.createKeyIn(member, region)
			source := f.createSnapshot(sourceKey)
			f.shareSnapshot(source)
			config := f.createUser(member, "copier", `{"Effect":"Allow","Action":"*","Resource":"*"}`,
				`{"Effect":"Deny","Action":"kms:Decrypt","Resource":"`+sourceKey+`"}`)
			config.Region = region
			client := ec2.NewFromConfig(config)
			copied := f.waitForSnapshot(client, f.copySnapshot(client, source, func(in *ec2.CopySnapshotInput) {
				in.Encrypted, in.KmsKeyId = aws.Bool(true), &targetKey
			}))
			expectEqual(
				f, "the copy to "+region+" failed", copied.State == types.SnapshotStateError, chosen && region == away,
			)
		})
	}
}
