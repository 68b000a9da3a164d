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
func (f fixture) launchPermission(image string, add ...types.LaunchPermission) error {
	_, err := f.ec2.ModifyImageAttribute(f.Context(), &ec2.ModifyImageAttributeInput{
		ImageId: &image, LaunchPermission: &types.LaunchPermissionModifications{Add: add},
	})
	return err
}

// Every snapshot in an image decides whether it may be shared, and with whom (2.2).
func TestModifyImageAttribute_whoMayLaunch(t *testing.T) {
	toMember := types.LaunchPermission{UserId: aws.String(member)}
	toEverybody := types.LaunchPermission{Group: types.PermissionGroupAll}
	for _, row := range []struct {
		rule       string
		key        func(f fixture) string
		with       types.LaunchPermission
		code, says string
	}{
		{"2.2.1 customer key", fixture.key, toMember, "", ""},
		{
			"2.2.2 aws/ebs", func(f fixture) string { return f.managedKey(owner, home) }, toMember, "InvalidParameter",
			"Snapshots encrypted with the AWS Managed CMK can’t be shared. Specify another snapshot.",
		},
		{
			"2.2.3 public", fixture.key, toEverybody, "UnsupportedOperation",
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

				data := f.snapshot(key) // not the root: any snapshot counts
				image := f.image("", func(in *ec2.RegisterImageInput) {
					in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
						DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{SnapshotId: &data},
					})
				})

				err := f.launchPermission(image, row.with)
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
	runWithFixture(t, func(f fixture) {
		image := f.image("")
		public := types.LaunchPermission{Group: types.PermissionGroupAll}
		requireErrorCode(t, f.launchPermission(image, public), "OperationNotPermitted")
		requireOutput(f.ec2.DisableImageBlockPublicAccess(f.Context(), &ec2.DisableImageBlockPublicAccessInput{}))(f)
		if err := f.launchPermission(image, public); err != nil {
			t.Fatal(err)
		}
		if got := f.seenImage(f.at(member, home), image); !*got.Public {
			t.Errorf("the image is %+v", got)
		}
	})
}

// TestModifyImageAttribute_launchPermissionLimit covers rule 2.2.5.
func TestModifyImageAttribute_launchPermissionLimit(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.image("")
		var many []types.LaunchPermission
		for i := range 1001 {
			many = append(many, types.LaunchPermission{UserId: aws.String(fmt.Sprintf("2%011d", i))})
		}
		if err := f.launchPermission(image, many[:1000]...); err != nil {
			t.Error(err)
		}
		requireErrorCode(t, f.launchPermission(image, many[1000]), "ResourceLimitExceeded")
	})
}

// TestDescribeImages_asRecipient covers rules 2.2.11, 2.2.12 and A.4.1.
// Sharing an image shares neither its tags nor its attributes nor its snapshots (2.2.7, 2.2.11, 2.2.12, 2.2.15).
func TestDescribeImages_asRecipient(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.image("")
		others := f.at(member, home)
		got := requireOutput(others.DescribeImages(f.Context(), &ec2.DescribeImagesInput{
			ImageIds: []string{image},
		}))(f).Images
		if len(got) != 0 {
			t.Errorf("unshared it is seen: %v", got)
		}

		f.shareImage(image)
		if got := f.seenImage(others, image); got.DeregistrationProtection != nil || len(got.Tags) != 0 {
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

		// A.4.1: to the owner as well
		requireError(t, err, "AuthFailure", "Unauthorized attempt to access restricted resource")
		_, err = others.DescribeSnapshots(f.Context(), &ec2.DescribeSnapshotsInput{
			SnapshotIds: []string{f.root(f.ec2, image)},
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
				image := f.image("")
				in := &ec2.ModifyImageAttributeInput{ImageId: &image}
				row.change(in)
				_, err := f.ec2.ModifyImageAttribute(f.Context(), in)
				requireError(t, err, row.code, row.says)
			})
		})
	}
}
