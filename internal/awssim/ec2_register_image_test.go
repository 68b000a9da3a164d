// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// registerImage registers an image with a root snapshot.
func (f fixture) registerImage(
	client *ec2.Client, root string, changes ...func(*ec2.RegisterImageInput),
) (string, error) {
	in := &ec2.RegisterImageInput{
		Name:               aws.String("registered"),
		RootDeviceName:     aws.String("/dev/sda1"),
		VirtualizationType: aws.String("hvm"),
		Architecture:       types.ArchitectureValuesX8664,
		BlockDeviceMappings: []types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/sda1"), Ebs: &types.EbsBlockDevice{SnapshotId: &root}},
		},
	}

	for _, change := range changes {
		change(in)
	}

	out, err := client.RegisterImage(f.Context(), in)
	if err != nil {
		return "", err
	}

	return *out.ImageId, nil
}

func TestRegisterImage_invalid(t *testing.T) {
	rootEbs := func(change func(*types.EbsBlockDevice)) func(*ec2.RegisterImageInput) {
		return func(in *ec2.RegisterImageInput) { change(in.BlockDeviceMappings[0].Ebs) }
	}

	for _, row := range []struct {
		rule   string
		change func(*ec2.RegisterImageInput)
		code   string
	}{
		{"1.5.1 true", rootEbs(func(e *types.EbsBlockDevice) { e.Encrypted = aws.Bool(true) }), "InvalidParameter"},
		{"1.5.1 false", rootEbs(func(e *types.EbsBlockDevice) { e.Encrypted = aws.Bool(false) }), "InvalidParameter"},
		{"1.5.2", rootEbs(func(e *types.EbsBlockDevice) { e.KmsKeyId = aws.String("alias/aws/ebs") }), "InvalidParameter"},
		{
			"2.5.1 no root", func(in *ec2.RegisterImageInput) { in.RootDeviceName = aws.String("/dev/xvda") },
			"InvalidBlockDeviceMapping",
		},
		{
			"2.5.1 root of a size only",
			rootEbs(func(e *types.EbsBlockDevice) { e.SnapshotId, e.VolumeSize = nil, aws.Int32(8) }),
			"InvalidBlockDeviceMapping",
		},
		{"2.5.3 short", func(in *ec2.RegisterImageInput) { in.Name = aws.String("x") }, "InvalidAMIName.Malformed"},
		{"2.5.3 letter", func(in *ec2.RegisterImageInput) { in.Name = aws.String("a:b:c") }, "InvalidAMIName.Malformed"},
		{
			"2.5.4", rootEbs(func(e *types.EbsBlockDevice) { e.SnapshotId = aws.String("snap-0ffffffffffffffff") }),
			"InvalidSnapshotID.NotFound",
		},
		{"2.5.7", func(in *ec2.RegisterImageInput) {
			in.TagSpecifications = []types.TagSpecification{
				{ResourceType: types.ResourceTypeSnapshot, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}},
			}
		}, "InvalidParameterValue"},
		{"2.3.3", func(in *ec2.RegisterImageInput) { in.BillingProducts = []string{"bp-0002"} }, "AuthFailure"},
		{
			"2.4 TPM without boot mode", func(in *ec2.RegisterImageInput) { in.TpmSupport = types.TpmSupportValuesV20 },
			"InvalidParameterCombination",
		},
		{"2.4 TPM with uefi-preferred", func(in *ec2.RegisterImageInput) {
			in.TpmSupport, in.BootMode = types.TpmSupportValuesV20, types.BootModeValuesUefiPreferred
		}, "InvalidParameterCombination"},
		{
			"2.4 UEFI data without UEFI", func(in *ec2.RegisterImageInput) { in.UefiData = aws.String("QU1aTlVFRkk=") },
			"InvalidParameterCombination",
		},
		{"2.4 UEFI data that is none", func(in *ec2.RegisterImageInput) {
			in.UefiData, in.BootMode = aws.String("?"), types.BootModeValuesUefi
		}, "InvalidParameterValue"},
		{
			"2.4 SR-IOV", func(in *ec2.RegisterImageInput) { in.SriovNetSupport = aws.String("complex") },
			"InvalidParameterValue",
		},
		{
			"2.4 kernel", func(in *ec2.RegisterImageInput) { in.KernelId = aws.String("aki-12345678") },
			"InvalidParameterCombination",
		},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				_, err := f.registerImage(f.ec2, f.createSnapshot(""), row.change)
				requireErrorCode(t, err, row.code)
			})
		})
	}
}

// TestRegisterImage_nameTaken covers rule 2.5.2. An image name is unique in an account and Region.
func TestRegisterImage_nameTaken(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		root := f.createSnapshot("")
		first := requireOutput(f.registerImage(f.ec2, root))(f)
		_, err := f.registerImage(f.ec2, root)
		requireError(t, err, "InvalidAMIName.Duplicate", "AMI name registered is already in use by AMI "+first)
		_, err = f.ec2.CopyImage(f.Context(), &ec2.CopyImageInput{
			Name: aws.String("registered"), SourceRegion: aws.String(home), SourceImageId: &first,
		})

		requireErrorCode(t, err, "InvalidAMIName.Duplicate")
		requireOutput(f.ec2At(owner, away).CopyImage(f.Context(), &ec2.CopyImageInput{
			Name: aws.String("registered"), SourceRegion: aws.String(home), SourceImageId: &first,
		}))(f)

		requireOutput(f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{ImageId: &first}))(f)
		requireOutput(f.registerImage(f.ec2, root))(f)
	})
}

// TestRegisterImage_snapshotOfOtherAccount covers rule 1.5.6. RegisterImage refuses a snapshot that is only shared
// with the account.
func TestRegisterImage_snapshotOfOtherAccount(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		root := f.createSnapshot("")
		_, err := f.registerImage(f.ec2At(member, home), root)
		requireErrorCode(t, err, "InvalidSnapshotID.NotFound")
		f.shareSnapshot(root)
		_, err = f.registerImage(f.ec2At(member, home), root)
		requireError(
			t, err, "InvalidParameterValue", "Invalid value '"+root+"' for snapshotId. Snapshot does not belong to "+member,
		)
	})
}

// TestRegisterImage_defaults covers rules 2.4 and 2.5.6. Missing attributes get old defaults, the size comes from the
// snapshot, and the image is available at once.
func TestRegisterImage_defaults(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		root := f.createSnapshot("")
		id := requireOutput(f.registerImage(f.ec2, root, func(in *ec2.RegisterImageInput) {
			in.Architecture, in.VirtualizationType = "", nil
			in.BlockDeviceMappings = append(in.BlockDeviceMappings,
				types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), VirtualName: aws.String("ephemeral0")},
				types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdc"), NoDevice: aws.String("")},
				// rule 1.5.5: a mapping with a size and without a snapshot may request encryption
				types.BlockDeviceMapping{
					DeviceName: aws.String("/dev/sdd"),
					Ebs:        &types.EbsBlockDevice{VolumeSize: aws.Int32(3), Encrypted: aws.Bool(true)},
				})
		}))(f)

		got := f.describeImage(f.ec2, id)
		ebs := got.BlockDeviceMappings[0].Ebs
		expectEqual(f, "the architecture", got.Architecture, types.ArchitectureValuesI386)
		expectEqual(f, "the virtualization type", got.VirtualizationType, types.VirtualizationTypeParavirtual)
		expectEqual(f, "the state", got.State, types.ImageStateAvailable)
		expectEqual(f, "the location", *got.ImageLocation, owner+"/registered")
		expectEqual(f, "the protection", *got.DeregistrationProtection, "disabled")
		expectEqual(f, "the hypervisor", got.Hypervisor, types.HypervisorTypeXen)
		expectEqual(f, "the image type", got.ImageType, types.ImageTypeValuesMachine)
		expectEqual(f, "the platform details", *got.PlatformDetails, "Linux/UNIX")
		expectEqual(f, "the usage operation", *got.UsageOperation, "RunInstances")
		expectEqual(f, "the root device type", got.RootDeviceType, types.DeviceTypeEbs)
		expectEqual(f, "ENA support", got.EnaSupport, nil)
		expectEqual(f, "the source image", got.SourceImageId, nil)

		if ebs.VolumeType != types.VolumeTypeGp2 || !*ebs.DeleteOnTermination || *ebs.VolumeSize != 8 || *ebs.Encrypted {
			t.Errorf("the root is %+v", *ebs)
		}

		if len(got.BlockDeviceMappings) != 4 || *got.BlockDeviceMappings[1].VirtualName != "ephemeral0" ||
			got.BlockDeviceMappings[2].NoDevice == nil || !*got.BlockDeviceMappings[3].Ebs.Encrypted {
			t.Errorf("the devices are %+v", got.BlockDeviceMappings)
		}
	})
}

// TestRegisterImage_keepsRequestedAttributes covers rule 2.4. The image has all attributes of the request.
func TestRegisterImage_keepsRequestedAttributes(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		id := requireOutput(f.registerImage(f.ec2, f.createSnapshot(""), setAllAttributes))(f)
		checkAllAttributes(t, f.describeImage(f.ec2, id))
		data := requireOutput(f.ec2.DescribeImageAttribute(f.Context(), &ec2.DescribeImageAttributeInput{
			ImageId: &id, Attribute: types.ImageAttributeNameUefiData,
		}))(f).UefiData
		if *data.Value != "QU1aTlVFRkk=" {
			t.Errorf("UEFI data %q", *data.Value)
		}
	})
}

// setAllAttributes sets all attributes that RegisterImage can set.
func setAllAttributes(in *ec2.RegisterImageInput) {
	in.Description, in.EnaSupport, in.SriovNetSupport = aws.String("all"), aws.Bool(true), aws.String("simple")
	in.BootMode = types.BootModeValuesUefi
	in.TpmSupport = types.TpmSupportValuesV20
	in.UefiData = aws.String("QU1aTlVFRkk=")
	in.ImdsSupport = types.ImdsSupportValuesV20
	in.BlockDeviceMappings[0].Ebs = &types.EbsBlockDevice{
		SnapshotId:          in.BlockDeviceMappings[0].Ebs.SnapshotId,
		VolumeType:          types.VolumeTypeGp3,
		Iops:                aws.Int32(4000),
		Throughput:          aws.Int32(250),
		DeleteOnTermination: aws.Bool(false),
		VolumeSize:          aws.Int32(20),
	}

	in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.BlockDeviceMapping{
		DeviceName: aws.String("/dev/sdb"), VirtualName: aws.String("ephemeral0"),
	})
}

// checkAllAttributes checks that an image has all attributes that setAllAttributes sets, except the description.
func checkAllAttributes(t *testing.T, got types.Image) {
	t.Helper()
	ebs := got.BlockDeviceMappings[0].Ebs
	expectEqual(t, "the architecture", got.Architecture, types.ArchitectureValuesX8664)
	expectEqual(t, "the virtualization type", got.VirtualizationType, types.VirtualizationTypeHvm)
	expectEqual(t, "the root device", *got.RootDeviceName, "/dev/sda1")
	expectEqual(t, "ENA support", *got.EnaSupport, true)
	expectEqual(t, "SR-IOV support", *got.SriovNetSupport, "simple")
	expectEqual(t, "the boot mode", got.BootMode, types.BootModeValuesUefi)
	expectEqual(t, "TPM support", got.TpmSupport, types.TpmSupportValuesV20)
	expectEqual(t, "IMDS support", got.ImdsSupport, types.ImdsSupportValuesV20)

	expectEqual(t, "the volume type", ebs.VolumeType, types.VolumeTypeGp3)
	expectEqual(t, "the IOPS", *ebs.Iops, 4000)
	expectEqual(t, "the throughput", *ebs.Throughput, 250)
	expectEqual(t, "the size", *ebs.VolumeSize, 20)
	expectEqual(t, "DeleteOnTermination", *ebs.DeleteOnTermination, false)

	if len(got.BlockDeviceMappings) != 2 || aws.ToString(got.BlockDeviceMappings[1].VirtualName) != "ephemeral0" {
		t.Errorf("the devices are %+v", got.BlockDeviceMappings)
	}
}

// TestRegisterImage_billingFollowsSnapshot covers rule 2.3.3. An image registered from a copy of a Windows snapshot is
// a Windows image (rule 2.3.4).
func TestRegisterImage_billingFollowsSnapshot(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		built := f.rebuildImage(f.createVendorImage("801119661308", "bp-0002"))
		for _, id := range []string{
			built,
			requireOutput(f.registerImage(
				f.ec2, *f.waitForSnapshot(f.ec2, f.copySnapshot(f.ec2, f.rootSnapshot(f.ec2, built))).SnapshotId,
			))(f),
		} {
			got := f.describeImage(f.ec2, id)
			if *got.PlatformDetails != "Windows" || *got.UsageOperation != "RunInstances:0002" ||
				got.Platform != types.PlatformValuesWindows {
				t.Errorf("%s is %s (%s)", id, *got.PlatformDetails, *got.UsageOperation)
			}
		}
	})
}

// TestRegisterImage_authorizedResources covers rule 2.5.5. RegisterImage authorizes the image and each snapshot.
func TestRegisterImage_authorizedResources(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		root := f.createSnapshot("")
		requireOutput(f.registerImage(f.ec2, root, func(in *ec2.RegisterImageInput) {
			in.TagSpecifications = []types.TagSpecification{
				{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}},
			}
		}))(f)

		calls := f.world.Records().Calls("ec2:RegisterImage")
		var got []string
		for _, one := range calls[0].Authorizations {
			got = append(got, one.Action+" "+one.Resource)
		}

		want := []string{
			"ec2:RegisterImage arn:aws:ec2:us-east-1::image/*", "ec2:RegisterImage arn:aws:ec2:us-east-1::snapshot/" + root,
			"ec2:CreateTags arn:aws:ec2:us-east-1::image/*",
		}
		if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
			t.Errorf("asked for %v, want %v", got, want)
		}
	})
}
