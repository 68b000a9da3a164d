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

// modifyPermission changes the create volume permissions of a snapshot of the owner.
func (f fixture) modifyPermission(snapshot string, add bool, items ...types.CreateVolumePermission) error {
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
		key        func(f fixture) string // nil for unencrypted
		with       types.CreateVolumePermission
		code, says string
	}{
		{
			"2.1.1 aws/ebs", func(f fixture) string { return f.awsManagedKeyARN(owner, home) }, toUser(member),
			"OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared",
		},
		{"2.1.2 public", fixture.createKey, toAll, "OperationNotPermitted", "Encrypted snapshots cannot be shared publicly."},
		{"2.1.9 customer key", fixture.createKey, toUser(member), "", ""},
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
				err := f.modifyPermission(f.createSnapshot(key), true, row.with)
				if row.code == "" && err == nil {
					return
				}
				requireError(t, err, row.code, row.says)
			})
		})
	}
}

// TestModifySnapshotAttribute_publicAccessBlocked covers rule 2.1.3. Block public access prevents public snapshots.
func TestModifySnapshotAttribute_publicAccessBlocked(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		shared, other := f.createSnapshot(""), f.createSnapshot("")
		if err := f.modifyPermission(shared, true, toAll); err != nil {
			t.Fatal(err)
		}

		look := func() error {
			_, err := f.ec2At(member, home).DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
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
			t, f.modifyPermission(other, true, toAll), "OperationNotPermitted",
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

// TestModifySnapshotAttribute_owner covers rule 2.1.5. Sharing a pending snapshot, sharing twice and sharing with
// oneself succeed.
func TestModifySnapshotAttribute_owner(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		snapshot := f.createSnapshot("")
		for _, items := range [][]types.CreateVolumePermission{{toUser(member), toUser(owner)}, {toUser(member)}} {
			if err := f.modifyPermission(snapshot, true, items...); err != nil {
				t.Fatal(err)
			}
		}

		if err := f.modifyPermission(snapshot, false, toUser("888888888888")); err != nil {
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

// TestModifySnapshotAttribute_tooManyItems covers rule 2.1.6. A change of create volume permissions has at most 500
// items and only one operation.
func TestModifySnapshotAttribute_tooManyItems(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		snapshot := f.createSnapshot("")
		err := f.modifyPermission(snapshot, true, slices.Repeat([]types.CreateVolumePermission{toUser(member)}, 500)...)
		if err != nil {
			t.Error(err)
		}
		requireError(t,
			f.modifyPermission(snapshot, true, slices.Repeat([]types.CreateVolumePermission{toUser(member)}, 501)...),
			"InvalidParameterValue", "Modification size must not be greater than 500.")
	})
}

// TestModifySnapshotAttribute_keyNotShared covers rule 2.1.8. Sharing creates no grant on the key. The recipient sees
// the key but no tags, and cannot copy the snapshot until the key policy allows it (rules 1.2.4, 2.1.9 and 3.1.3).
func TestModifySnapshotAttribute_keyNotShared(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		snapshot := f.createSnapshot(key)
		requireOutput(f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
			Resources: []string{snapshot}, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
		}))(f)

		f.shareSnapshot(snapshot)
		grants := requireOutput(f.kms.ListGrants(f.Context(), &kms.ListGrantsInput{KeyId: &key}))(f).Grants
		if len(grants) != 0 {
			t.Errorf("there are grants: %v", grants)
		}

		others := f.ec2At(member, home)
		if view := f.describeSnapshot(others, snapshot); *view.KmsKeyId != key || len(view.Tags) != 0 {
			t.Errorf("the recipient sees %+v", view)
		}

		target := f.createKeyIn(member, home)
		if got := f.waitForSnapshot(
			others, f.copySnapshot(others, snapshot, withKey(target)),
		); aws.ToString(got.StateMessage) != "Given key ID is not accessible" ||
			!*got.Encrypted || *got.KmsKeyId != target || *got.VolumeSize != 8 {
			t.Errorf("without the key the copy is %+v", got)
		}

		requireOutput(f.kms.PutKeyPolicy(f.Context(),
			&kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":["` + owner + `","` + member + `"]},"Action":"kms:*","Resource":"*"}]}`)}))(f)

		got := f.waitForSnapshot(others, f.copySnapshot(others, snapshot, withKey(target)))
		if got.State != types.SnapshotStateCompleted {
			t.Errorf("with the key the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestSnapshotAttribute_onlyForOwner covers rule 2.1.7. A snapshot of another account is not found.
func TestSnapshotAttribute_onlyForOwner(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		snapshot := f.createSnapshot("")
		f.shareSnapshot(snapshot)
		in := &ec2.ModifySnapshotAttributeInput{
			SnapshotId: &snapshot,
			CreateVolumePermission: &types.CreateVolumePermissionModifications{
				Add: []types.CreateVolumePermission{toUser(member)},
			},
		}

		_, err := f.ec2At(member, home).ModifySnapshotAttribute(f.Context(), in)
		requireErrorCode(t, err, "InvalidSnapshot.NotFound")
		in.DryRun = aws.Bool(true) // a dry run proves nothing about the snapshot (A.4.4)
		_, err = f.ec2At(member, home).ModifySnapshotAttribute(f.Context(), in)
		requireErrorCode(t, err, "DryRunOperation")
	})
}

// TestSnapshotAttribute_productCodes covers rules 2.1.10 and 2.3.5. Copies of Marketplace data keep its product code
// and cannot be made public.
func TestSnapshotAttribute_productCodes(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createMarketplaceImage()
		root := f.rootSnapshot(f.ec2, image)
		requireErrorCode(t, f.modifyPermission(root, true, toAll), "OperationNotPermitted")
		copied := f.copySnapshot(f.ec2, root)
		f.waitForSnapshot(f.ec2, copied)
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
