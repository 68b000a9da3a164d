// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
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
