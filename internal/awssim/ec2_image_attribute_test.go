// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// launchPermission adds launch permissions to an image of the owner.
func (b fixture) launchPermission(image string, add ...types.LaunchPermission) error {
	_, err := b.ec2.ModifyImageAttribute(b.Context(), &ec2.ModifyImageAttributeInput{ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: add}})
	return err
}

// Every snapshot in an image decides whether it may be shared, and with whom (2.2).
func TestModifyImageAttribute_whoMayLaunch(t *testing.T) {
	toMember, toEverybody := types.LaunchPermission{UserId: aws.String(member)}, types.LaunchPermission{Group: types.PermissionGroupAll}
	for _, row := range []struct {
		rule       string
		key        func(b fixture) string
		with       types.LaunchPermission
		code, says string
	}{
		{"2.2.1 customer key", fixture.key, toMember, "", ""},
		{"2.2.2 aws/ebs", func(b fixture) string { return b.managedKey(owner, home) }, toMember, "InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot."},
		{"2.2.3 public", fixture.key, toEverybody, "UnsupportedOperation", "Encrypted snapshots can’t be shared publicly. Specify another snapshot."},
		{"2.2.10 account", nil, types.LaunchPermission{UserId: aws.String("123")}, "InvalidAMIAttributeItemValue", `Invalid attribute item value "123 " for userId item type.`},
		{"2.2.4 organization", nil, types.LaunchPermission{OrganizationArn: aws.String("o-1")}, "InvalidAMIAttributeItemValue", `Invalid attribute item value "o-1" for organizationArn item type.`},
		{"2.2.4 unit", nil, types.LaunchPermission{OrganizationalUnitArn: aws.String("ou-1")}, "InvalidAMIAttributeItemValue", `Invalid attribute item value "ou-1" for organizationalUnitArn item type.`},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				key := ""
				if row.key != nil {
					key = row.key(b)
				}
				data := b.snapshot(key) // not the root: any snapshot counts
				image := b.image("", func(in *ec2.RegisterImageInput) {
					in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data}})
				})
				err := b.launchPermission(image, row.with)
				if row.code == "" && err == nil {
					return
				}
				requireError(t, err, row.code, row.says)
			})
		})
	}
}

// TestModifyImageAttribute_publicAccessBlocked covers rule 2.2.13.
// Newer accounts block public images from the start (2.2.13).
func TestModifyImageAttribute_publicAccessBlocked(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		public := types.LaunchPermission{Group: types.PermissionGroupAll}
		requireErrorCode(t, b.launchPermission(image, public), "OperationNotPermitted")
		ok(b.ec2.DisableImageBlockPublicAccess(b.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(b)
		if err := b.launchPermission(image, public); err != nil {
			t.Fatal(err)
		}
		if got := b.seenImage(b.at(member, home), image); !*got.Public {
			t.Errorf("the image is %+v", got)
		}
	})
}

// TestModifyImageAttribute_launchPermissionLimit covers rule 2.2.5.
func TestModifyImageAttribute_launchPermissionLimit(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		var many []types.LaunchPermission
		for i := range 1001 {
			many = append(many, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("2%011d", i))})
		}
		if err := b.launchPermission(image, many[:1000]...); err != nil {
			t.Error(err)
		}
		requireErrorCode(t, b.launchPermission(image, many[1000]), "ResourceLimitExceeded")
	})
}

// TestDescribeImages_asRecipient covers rules 2.2.11, 2.2.12 and A.4.1.
// Sharing an image shares neither its tags nor its attributes nor its snapshots (2.2.7, 2.2.11, 2.2.12, 2.2.15).
func TestDescribeImages_asRecipient(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		others := b.at(member, home)
		if got := ok(others.DescribeImages(b.Context(), &ec2.DescribeImagesInput{ImageIds: []string{image}}))(b).Images; len(got) != 0 {
			t.Errorf("unshared it is seen: %v", got)
		}
		b.shareImage(image)
		if got := b.seenImage(others, image); got.DeregistrationProtection != nil || len(got.Tags) != 0 {
			t.Errorf("shared it shows %+v", got)
		}
		for _, attribute := range []types.ImageAttributeName{types.ImageAttributeNameUefiData, types.ImageAttributeNameLaunchPermission, types.ImageAttributeNameDescription} {
			_, err := others.DescribeImageAttribute(b.Context(), &ec2.DescribeImageAttributeInput{ImageId: &image, Attribute: attribute})
			requireError(t, err, "AuthFailure", "Not authorized for image:"+image)
		}
		_, err := b.ec2.DescribeImageAttribute(b.Context(), &ec2.DescribeImageAttributeInput{ImageId: &image, Attribute: types.ImageAttributeNameBlockDeviceMapping})
		requireError(t, err, "AuthFailure", "Unauthorized attempt to access restricted resource") // A.4.1: to the owner as well
		_, err = others.DescribeSnapshots(b.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{b.root(b.ec2, image)}})
		requireErrorCode(t, err, "InvalidSnapshot.NotFound")
	})
}

func TestModifyImageAttribute_invalid(t *testing.T) {
	for _, row := range []struct {
		rule       string
		change     func(*ec2.ModifyImageAttributeInput)
		code, says string
	}{
		{"2.2.10 two", func(in *ec2.ModifyImageAttributeInput) {
			in.Description, in.ImdsSupport = &types.AttributeValue{Value: aws.String("d")}, &types.AttributeValue{Value: aws.String("v2.0")}
		}, "InvalidParameterCombination", "Fields for multiple attribute types specified: description, imdsSupport"},
		{"2.2.10 none", func(*ec2.ModifyImageAttributeInput) {}, "InvalidParameterCombination", "No attributes specified."},
		{"2.2.10 no description", func(in *ec2.ModifyImageAttributeInput) {
			in.Attribute, in.Value = aws.String("description"), aws.String("")
		}, "MissingParameter", "The request must contain the parameter description"},
		{"2.2.10 IMDS", func(in *ec2.ModifyImageAttributeInput) { in.ImdsSupport = &types.AttributeValue{Value: aws.String("")} }, "MissingParameter", "The request must contain the parameter imdsSupport with value v2.0"},
		{"2.3.6 product codes", func(in *ec2.ModifyImageAttributeInput) { in.ProductCodes = []string{"code"} }, "InvalidParameterValue", "Product codes cannot be set."},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				image := b.image("")
				in := &ec2.ModifyImageAttributeInput{ImageId: &image}
				row.change(in)
				_, err := b.ec2.ModifyImageAttribute(b.Context(), in)
				requireError(t, err, row.code, row.says)
			})
		})
	}
}
