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
func (f fixture) permission(snapshot string, add bool, items ...types.CreateVolumePermission) error {
	change := &types.CreateVolumePermissionModifications{Remove: items}
	if add {
		change = &types.CreateVolumePermissionModifications{Add: items}
	}
	_, err := f.ec2.ModifySnapshotAttribute(f.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &snapshot, CreateVolumePermission: change,
	})
	return err
}

func toUser(id string) types.CreateVolumePermission {
	return types.CreateVolumePermission{UserId: aws.String(id)}
}

var toAll = types.CreateVolumePermission{Group: types.PermissionGroupAll}

func TestModifySnapshotAttribute_whoMayShare(t *testing.T) {
	for _, row := range []struct {
		rule       string
		key        func(f fixture) string // nil: unencrypted
		with       types.CreateVolumePermission
		code, says string
	}{
		{
			"2.1.1 aws/ebs", func(f fixture) string { return f.managedKey(owner, home) }, toUser(member),
			"OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared",
		},
		{"2.1.2 public", fixture.key, toAll, "OperationNotPermitted", "Encrypted snapshots cannot be shared publicly."},
		{"2.1.9 customer key", fixture.key, toUser(member), "", ""},
		{"2.1.4 public, unencrypted", nil, toAll, "", ""},
		{"A.4.3 account", nil, toUser("123"), "InvalidAMIAttributeItemValue", "UserId 123"},
		{
			"A.4.3 group", nil,
			types.CreateVolumePermission{Group: "everyone"},
			"InvalidAMIAttributeItemValue",
			"UserGroup everyone",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				key := ""
				if row.key != nil {
					key = row.key(f)
				}
				err := f.permission(f.snapshot(key), true, row.with)
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
	runWithFixture(t, func(f fixture) {
		shared, other := f.snapshot(""), f.snapshot("")
		if err := f.permission(shared, true, toAll); err != nil {
			t.Fatal(err)
		}

		look := func() error {
			_, err := f.at(member, home).DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
				SnapshotIds: []string{shared},
			})
			return err
		}

		if err := look(); err != nil {
			t.Errorf("a public snapshot: %v", err)
		}

		requireOutput(f.ec2.EnableSnapshotBlockPublicAccess(f.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{
			State: types.SnapshotBlockPublicAccessStateBlockNewSharing,
		}))(f)

		requireError(
			t, f.permission(other, true, toAll), "OperationNotPermitted",
			"Public sharing of snapshots is blocked for this account.",
		)

		if err := look(); err != nil {
			t.Errorf("what was public before: %v", err)
		}

		requireOutput(f.ec2.EnableSnapshotBlockPublicAccess(f.Context(), &ec2.EnableSnapshotBlockPublicAccessInput{
			State: types.SnapshotBlockPublicAccessStateBlockAllSharing,
		}))(f)

		requireErrorCode(t, look(), "InvalidSnapshot.NotFound")
	})
}

// TestModifySnapshotAttribute_owner covers rule 2.1.5.
func TestModifySnapshotAttribute_owner(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		snapshot := f.snapshot("")
		for _, items := range [][]types.CreateVolumePermission{{toUser(member), toUser(owner)}, {toUser(member)}} {
			if err := f.permission(snapshot, true, items...); err != nil {
				t.Fatal(err)
			}
		}

		if err := f.permission(snapshot, false, toUser("888888888888")); err != nil {
			t.Fatal(err)
		}

		got := requireOutput(f.ec2.DescribeSnapshotAttribute(f.Context(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}))(f).CreateVolumePermissions
		if len(got) != 1 || *got[0].UserId != member {
			t.Errorf("it is shared with %v", got)
		}
	})
}

// TestModifySnapshotAttribute_tooManyItems covers rule 2.1.6.
func TestModifySnapshotAttribute_tooManyItems(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		snapshot := f.snapshot("")
		err := f.permission(snapshot, true, slices.Repeat([]types.CreateVolumePermission{toUser(member)}, 500)...)
		if err != nil {
			t.Error(err)
		}
		requireError(t, f.permission(snapshot, true, slices.Repeat([]types.CreateVolumePermission{toUser(member)}, 501)...),
			"InvalidParameterValue", "Modification size must not be greater than 500.")
	})
}

// TestModifySnapshotAttribute_keyNotShared covers rule 2.1.8. Sharing an encrypted snapshot makes no grant on its key;
// the recipient sees the snapshot with the owner's key and without tags, and cannot copy it until the key admits it
// (1.2.4, 2.1.8, 2.1.9, 3.1.3).
func TestModifySnapshotAttribute_keyNotShared(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.key()
		snapshot := f.snapshot(key)
		requireOutput(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
			Resources: []string{snapshot}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		}))(f)

		f.share(snapshot)
		grants := requireOutput(f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key}))(f).Grants
		if len(grants) != 0 {
			t.Errorf("there are grants: %v", grants)
		}

		others := f.at(member, home)
		if seen := f.seen(others, snapshot); *seen.KmsKeyId != key || len(seen.Tags) != 0 {
			t.Errorf("the recipient sees %+v", seen)
		}

		target := f.keyAt(member, home)
		if got := f.settled(
			others, f.copySnapshot(others, snapshot, under(target)),
		); aws.ToString(got.StateMessage) != "Given key ID is not accessible" ||
			!*got.Encrypted || *got.KmsKeyId != target || *got.VolumeSize != 8 {
			t.Errorf("without the key the copy is %+v", got)
		}

		requireOutput(f.kms.PutKeyPolicy(f.Context(),
			&kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":["` + owner + `","` + member + `"]},"Action":"kms:*","Resource":"*"}]}`)}))(f)

		got := f.settled(others, f.copySnapshot(others, snapshot, under(target)))
		if got.State != types.SnapshotStateCompleted {
			t.Errorf("with the key the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestSnapshotAttribute_onlyForOwner covers rule 2.1.7.
func TestSnapshotAttribute_onlyForOwner(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		snapshot := f.snapshot("")
		f.share(snapshot)
		in := &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &snapshot,
			CreateVolumePermission: &types.CreateVolumePermissionModifications{
				Add: []types.CreateVolumePermission{toUser(member)},
			},
		}

		_, err := f.at(member, home).ModifySnapshotAttribute(f.Context(), in)
		requireErrorCode(t, err, "InvalidSnapshot.NotFound")
		in.DryRun = aws.Bool(true) // a dry run proves nothing about the snapshot (A.4.4)
		_, err = f.at(member, home).ModifySnapshotAttribute(f.Context(), in)
		requireErrorCode(t, err, "DryRunOperation")
	})
}

// TestSnapshotAttribute_productCodes covers rules 2.1.10 and 2.3.5.
// Data bought in AWS Marketplace carries its product code along, and cannot be made public (2.1.10, 2.3.5).
func TestSnapshotAttribute_productCodes(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.marketplaceImage()
		root := f.root(f.ec2, image)
		requireErrorCode(t, f.permission(root, true, toAll), "OperationNotPermitted")
		copied := f.copySnapshot(f.ec2, root)
		f.settled(f.ec2, copied)
		got := requireOutput(f.ec2.DescribeSnapshotAttribute(f.Context(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: &copied, Attribute: types.SnapshotAttributeNameProductCodes,
		}))(f)
		if len(got.ProductCodes) != 1 || *got.ProductCodes[0].ProductCodeId != "code" {
			t.Errorf("the copy has the product codes %v", got.ProductCodes)
		}

		requireOutput(f.ec2.DisableImageBlockPublicAccess(f.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(f)
		_, err := f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
			ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{
				Add: []types.LaunchPermission{{Group: types.PermissionGroupAll}},
			},
		})

		requireErrorCode(t, err, "OperationNotPermitted")
	})
}
