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

// addLaunchPermission adds launch permissions to an image of the owner.
func (f fixture) addLaunchPermission(image string, add ...types.LaunchPermission) error {
	_, err := f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: add},
	})
	return err
}

// TestModifyImageAttribute_whoMayLaunch checks rules 2.2. Every snapshot of an image decides with which accounts it can
// be shared.
func TestModifyImageAttribute_whoMayLaunch(t *testing.T) {
	toMember := types.LaunchPermission{UserId: aws.String(member)}
	toEverybody := types.LaunchPermission{Group: types.PermissionGroupAll}
	for _, row := range []struct {
		rule       string
		key        func(f fixture) string
		with       types.LaunchPermission
		code, says string
	}{
		{"2.2.1 customer key", fixture.createKey, toMember, "", ""},
		{
			"2.2.2 aws/ebs", func(f fixture) string { return f.awsManagedKeyARN(owner, home) }, toMember, "InvalidParameter",
			"Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot.",
		},
		{
			"2.2.3 public", fixture.createKey, toEverybody, "UnsupportedOperation",
			"Encrypted snapshots can’t be shared publicly. Specify another snapshot.",
		},
		{
			"2.2.10 account", nil,
			types.LaunchPermission{UserId: aws.String("123")},
			"InvalidAMIAttributeItemValue",
			`Invalid attribute item value "123 " for userId item type.`,
		},
		{
			"2.2.4 organization", nil,
			types.LaunchPermission{OrganizationArn: aws.String("o-1")},
			"InvalidAMIAttributeItemValue", `Invalid attribute item value "o-1" for organizationArn item type.`,
		},
		{
			"2.2.4 unit", nil,
			types.LaunchPermission{OrganizationalUnitArn: aws.String("ou-1")},
			"InvalidAMIAttributeItemValue",
			`Invalid attribute item value "ou-1" for organizationalUnitArn item type.`,
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				key := ""
				if row.key != nil {
					key = row.key(f)
				}

				data := f.createSnapshot(key) // not the root: every snapshot counts
				image := f.createImage("", func(in *ec2.RegisterImageInput) {
					in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
						DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data},
					})
				})

				err := f.addLaunchPermission(image, row.with)
				if row.code == "" && err == nil {
					return
				}

				requireError(t, err, row.code, row.says)
			})
		})
	}
}

// TestModifyImageAttribute_publicAccessBlocked covers rule 2.2.13. New accounts block public images from the start.
func TestModifyImageAttribute_publicAccessBlocked(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		public := types.LaunchPermission{Group: types.PermissionGroupAll}
		requireErrorCode(t, f.addLaunchPermission(image, public), "OperationNotPermitted")
		requireOutput(f.ec2.DisableImageBlockPublicAccess(f.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(f)
		if err := f.addLaunchPermission(image, public); err != nil {
			t.Fatal(err)
		}
		if got := f.describeImage(f.ec2At(member, home), image); !*got.Public {
			t.Errorf("the image is %+v", got)
		}
	})
}

// TestModifyImageAttribute_launchPermissionLimit covers rule 2.2.5. An image has at most 1,000 launch permissions.
func TestModifyImageAttribute_launchPermissionLimit(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		var many []types.LaunchPermission
		for i := range 1001 {
			many = append(many, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("2%011d", i))})
		}
		if err := f.addLaunchPermission(image, many[:1000]...); err != nil {
			t.Error(err)
		}
		requireErrorCode(t, f.addLaunchPermission(image, many[1000]), "ResourceLimitExceeded")
	})
}

// TestDescribeImages_asRecipient covers rules 2.2.11, 2.2.12 and A.4.1. Sharing an image shares neither its tags, its
// attributes nor its snapshots (rules 2.2.7 and 2.2.15).
func TestDescribeImages_asRecipient(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		others := f.ec2At(member, home)
		got := requireOutput(others.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
			ImageIds: []string{image},
		}))(f).Images
		if len(got) != 0 {
			t.Errorf("unshared it is seen: %v", got)
		}

		f.shareImage(image)
		if got := f.describeImage(others, image); got.DeregistrationProtection != nil || len(got.Tags) != 0 {
			t.Errorf("shared it shows %+v", got)
		}

		for _, attribute := range []types.ImageAttributeName{
			types.ImageAttributeNameUefiData, types.ImageAttributeNameLaunchPermission, types.ImageAttributeNameDescription,
		} {
			_, err := others.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
				ImageId: &image, Attribute: attribute,
			})
			requireError(t, err, "AuthFailure", "Not authorized for image:"+image)
		}

		_, err := f.ec2.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
			ImageId: &image, Attribute: types.ImageAttributeNameBlockDeviceMapping,
		})

		// rule A.4.1: even to the owner
		requireError(t, err, "AuthFailure", "Unauthorized attempt to access restricted resource")
		_, err = others.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
			SnapshotIds: []string{f.rootSnapshot(f.ec2, image)},
		})

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
			in.Description = &types.AttributeValue{Value: aws.String("d")}
			in.ImdsSupport = &types.AttributeValue{Value: aws.String("v2.0")}
		}, "InvalidParameterCombination", "Fields for multiple attribute types specified: description, imdsSupport"},
		{"2.2.10 none", func(*ec2.ModifyImageAttributeInput) {}, "InvalidParameterCombination", "No attributes specified."},
		{"2.2.10 no description", func(in *ec2.ModifyImageAttributeInput) {
			in.Attribute, in.Value = aws.String("description"), aws.String("")
		}, "MissingParameter", "The request must contain the parameter description"},
		{
			"2.2.10 IMDS",
			func(in *ec2.ModifyImageAttributeInput) { in.ImdsSupport = &types.AttributeValue{Value: aws.String("")} },
			"MissingParameter", "The request must contain the parameter imdsSupport with value v2.0",
		},
		{
			"2.3.6 product codes", func(in *ec2.ModifyImageAttributeInput) { in.ProductCodes = []string{"code"} },
			"InvalidParameterValue", "Product codes cannot be set.",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				image := f.createImage("")
				in := &ec2.ModifyImageAttributeInput{ImageId: &image}
				row.change(in)
				_, err := f.ec2.ModifyImageAttribute(f.Context(), in)
				requireError(t, err, row.code, row.says)
			})
		})
	}
}
