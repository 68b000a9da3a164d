// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// permission changes whom a snapshot of the owner is shared with.
func (b fixture) permission(snapshot string, add bool, items ...types.CreateVolumePermission) error {
	change := &types.CreateVolumePermissionModifications{Remove: items}
	if add {
		change = &types.CreateVolumePermissionModifications{Add: items}
	}
	_, err := b.ec2.ModifySnapshotAttribute(b.Context(), &ec2.ModifySnapshotAttributeInput{SnapshotId: &snapshot, CreateVolumePermission: change})
	return err
}

func toUser(id string) types.CreateVolumePermission {
	return types.CreateVolumePermission{UserId: aws.String(id)}
}

var toAll = types.CreateVolumePermission{Group: types.PermissionGroupAll}

func TestModifySnapshotAttribute_whoMayShare(t *testing.T) {
	for _, row := range []struct {
		rule       string
		key        func(b fixture) string // nil: unencrypted
		with       types.CreateVolumePermission
		code, says string
	}{
		{"2.1.1 aws/ebs", func(b fixture) string { return b.managedKey(owner, home) }, toUser(member), "OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared"},
		{"2.1.2 public", fixture.key, toAll, "OperationNotPermitted", "Encrypted snapshots cannot be shared publicly."},
		{"2.1.9 customer key", fixture.key, toUser(member), "", ""},
		{"2.1.4 public, unencrypted", nil, toAll, "", ""},
		{"A.4.3 account", nil, toUser("123"), "InvalidAMIAttributeItemValue", "UserId 123"},
		{"A.4.3 group", nil, types.CreateVolumePermission{Group: "everyone"}, "InvalidAMIAttributeItemValue", "UserGroup everyone"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				key := ""
				if row.key != nil {
					key = row.key(b)
				}
				err := b.permission(b.snapshot(key), true, row.with)
				if row.code == "" && err == nil {
					return
				}
				requireError(t, err, row.code, row.says)
			})
		})
	}
}

// TestModifySnapshotAttribute_publicAccessBlocked covers rule 2.1.3.
func TestModifySnapshotAttribute_publicAccessBlocked(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		shared, other := b.snapshot(""), b.snapshot("")
		if err := b.permission(shared, true, toAll); err != nil {
			t.Fatal(err)
		}
		look := func() error {
			_, err := b.at(member, home).DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{shared}})
			return err
		}
		if err := look(); err != nil {
			t.Errorf("a public snapshot: %v", err)
		}
		ok(b.ec2.EnableSnapshotBlockPublicAccess(b.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{State: types.SnapshotBlockPublicAccessStateBlockNewSharing}))(b)
		requireError(t, b.permission(other, true, toAll), "OperationNotPermitted", "Public sharing of snapshots is blocked for this account.")
		if err := look(); err != nil {
			t.Errorf("what was public before: %v", err)
		}
		ok(b.ec2.EnableSnapshotBlockPublicAccess(b.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{State: types.SnapshotBlockPublicAccessStateBlockAllSharing}))(b)
		requireErrorCode(t, look(), "InvalidSnapshot.NotFound")
	})
}

// TestModifySnapshotAttribute_owner covers rule 2.1.5.
func TestModifySnapshotAttribute_owner(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		snapshot := b.snapshot("")
		for _, items := range [][]types.CreateVolumePermission{{toUser(member), toUser(owner)}, {toUser(member)}} {
			if err := b.permission(snapshot, true, items...); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.permission(snapshot, false, toUser("888888888888")); err != nil {
			t.Fatal(err)
		}
		got := ok(b.ec2.DescribeSnapshotAttribute(b.Context(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}))(b).CreateVolumePermissions
		if len(got) != 1 || *got[0].UserId != member {
			t.Errorf("it is shared with %v", got)
		}
	})
}

// TestModifySnapshotAttribute_tooManyItems covers rule 2.1.6.
func TestModifySnapshotAttribute_tooManyItems(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		snapshot := b.snapshot("")
		if err := b.permission(snapshot, true, slices.Repeat([]types.CreateVolumePermission{toUser(member)}, 500)...); err != nil {
			t.Error(err)
		}
		requireError(t, b.permission(snapshot, true, slices.Repeat([]types.CreateVolumePermission{toUser(member)}, 501)...),
			"InvalidParameterValue", "Modification size must not be greater than 500.")
	})
}

// TestModifySnapshotAttribute_keyNotShared covers rule 2.1.8.
// Sharing an encrypted snapshot makes no grant on its key; the recipient sees the snapshot with the owner's key and without
// tags, and cannot copy it until the key admits it (1.2.4, 2.1.8, 2.1.9, 3.1.3).
func TestModifySnapshotAttribute_keyNotShared(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		snapshot := b.snapshot(key)
		ok(b.ec2.CreateTags(b.Context(), &ec2.CreateTagsInput{Resources: []string{snapshot}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))(b)
		b.share(snapshot)
		if grants := ok(b.kms.ListGrants(b.Context(), &kms.ListGrantsInput{KeyId: &key}))(b).Grants; len(grants) != 0 {
			t.Errorf("there are grants: %v", grants)
		}
		others := b.at(member, home)
		if seen := b.seen(others, snapshot); *seen.KmsKeyId != key || len(seen.Tags) != 0 {
			t.Errorf("the recipient sees %+v", seen)
		}
		target := b.keyAt(member, home)
		if got := b.settled(others, b.copySnapshot(others, snapshot, under(target))); aws.ToString(got.StateMessage) != "Given key ID is not accessible" ||
			!*got.Encrypted || *got.KmsKeyId != target || *got.VolumeSize != 8 {
			t.Errorf("without the key the copy is %+v", got)
		}
		ok(b.kms.PutKeyPolicy(b.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":["` + owner + `","` + member + `"]},"Action":"kms:*","Resource":"*"}]}`)}))(b)
		if got := b.settled(others, b.copySnapshot(others, snapshot, under(target))); got.State != types.SnapshotStateCompleted {
			t.Errorf("with the key the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestSnapshotAttribute_onlyForOwner covers rule 2.1.7.
func TestSnapshotAttribute_onlyForOwner(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		snapshot := b.snapshot("")
		b.share(snapshot)
		in := &ec2.ModifySnapshotAttributeInput{SnapshotId: &snapshot, CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{toUser(member)}}}
		_, err := b.at(member, home).ModifySnapshotAttribute(b.Context(), in)
		requireErrorCode(t, err, "InvalidSnapshot.NotFound")
		in.DryRun = aws.Bool(true) // a dry run proves nothing about the snapshot (A.4.4)
		_, err = b.at(member, home).ModifySnapshotAttribute(b.Context(), in)
		requireErrorCode(t, err, "DryRunOperation")
	})
}

// TestSnapshotAttribute_productCodes covers rules 2.1.10 and 2.3.5.
// Data bought in AWS Marketplace carries its product code along, and cannot be made public (2.1.10, 2.3.5).
func TestSnapshotAttribute_productCodes(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.marketplaceImage()
		root := b.root(b.ec2, image)
		requireErrorCode(t, b.permission(root, true, toAll), "OperationNotPermitted")
		copied := b.copySnapshot(b.ec2, root)
		b.settled(b.ec2, copied)
		got := ok(b.ec2.DescribeSnapshotAttribute(b.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: &copied, Attribute: types.SnapshotAttributeNameProductCodes}))(b)
		if len(got.ProductCodes) != 1 || *got.ProductCodes[0].ProductCodeId != "code" {
			t.Errorf("the copy has the product codes %v", got.ProductCodes)
		}
		ok(b.ec2.DisableImageBlockPublicAccess(b.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(b)
		_, err := b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{Group: types.PermissionGroupAll}}},
		})
		requireErrorCode(t, err, "OperationNotPermitted")
	})
}
