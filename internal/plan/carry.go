// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Attribute is one row of the carry-over table: a member of the SDK's Image, and what becomes of it in the target.
type Attribute struct {
	Name string // of the member
	How  How
	Rule string
	Why  string                      // for Lost: what the target's image lacks
	Text func(ec2types.Image) string // its value for comparing; "" is absent; nil where it is not compared
}

// CarryTable names every member of the pinned SDK's Image (rules 2.4, 9.0): an attribute that AWS adds is noticed when the SDK
// is raised, instead of being lost. UEFI data is no member of Image; RegisterImage carries it as well.
var CarryTable = []Attribute{
	{"Architecture", Kept, "2.4", "", func(i ec2types.Image) string { return string(i.Architecture) }},
	{"BlockDeviceMappings", Kept, "2.4", "", func(i ec2types.Image) string { return devicesText(i.BlockDeviceMappings) }},
	{"BootMode", Kept, "2.4", "", func(i ec2types.Image) string { return string(i.BootMode) }},
	{"EnaSupport", Kept, "2.4", "", func(i ec2types.Image) string { return flagText(i.EnaSupport) }},
	{"ImdsSupport", Kept, "2.4", "", func(i ec2types.Image) string { return string(i.ImdsSupport) }},
	{"KernelId", Kept, "2.4", "", func(i ec2types.Image) string { return aws.ToString(i.KernelId) }},
	{"RamdiskId", Kept, "2.4", "", func(i ec2types.Image) string { return aws.ToString(i.RamdiskId) }},
	{"RootDeviceName", Kept, "2.4", "", func(i ec2types.Image) string { return aws.ToString(i.RootDeviceName) }},
	{"RootDeviceType", Kept, "2.4", "", func(i ec2types.Image) string { return string(i.RootDeviceType) }},
	{"SriovNetSupport", Kept, "2.4", "", func(i ec2types.Image) string { return aws.ToString(i.SriovNetSupport) }},
	{"TpmSupport", Kept, "2.4", "", func(i ec2types.Image) string { return string(i.TpmSupport) }},
	{"VirtualizationType", Kept, "2.4", "", func(i ec2types.Image) string { return string(i.VirtualizationType) }},
	{"Hypervisor", Kept, "2.5.6", "", func(i ec2types.Image) string { return string(i.Hypervisor) }},
	{"ImageType", Kept, "2.5.6", "", func(i ec2types.Image) string { return string(i.ImageType) }},
	{"Platform", Kept, "2.3.3", "", func(i ec2types.Image) string { return string(i.Platform) }},
	{"PlatformDetails", Kept, "2.3.3", "", func(i ec2types.Image) string { return aws.ToString(i.PlatformDetails) }},
	{"UsageOperation", Kept, "2.3.3", "", func(i ec2types.Image) string { return aws.ToString(i.UsageOperation) }},

	{"Name", Set, "2.5.2", "", nil},
	{"Description", Set, "2.4", "", nil},
	{"Tags", Set, "2.4", "", nil},

	{"DeprecationTime", Lost, "2.4", "the date after which the image is deprecated", func(i ec2types.Image) string { return aws.ToString(i.DeprecationTime) }},
	{"ImageWatermarks", Lost, "9.17", "watermarks cannot be given to a registered image", func(i ec2types.Image) string { return countText(len(i.ImageWatermarks)) }},
	{"InstanceTypeSpecification", Lost, "9.18", "the instance types that the image allows cannot be given to a registered image", func(i ec2types.Image) string {
		if s := i.InstanceTypeSpecification; s != nil {
			return countText(len(s.SupportedInstanceTypes) + len(s.UnsupportedInstanceTypes))
		}
		return ""
	}},
	{"SourceImageId", Lost, "9.14", "AWS keeps no ancestry of a registered image; its tags name the source", func(i ec2types.Image) string { return aws.ToString(i.SourceImageId) }},
	{"SourceImageRegion", Lost, "9.14", "AWS keeps no ancestry of a registered image; its tags name the source", func(i ec2types.Image) string { return aws.ToString(i.SourceImageRegion) }},
	{"SourceInstanceId", Lost, "9.14", "the instance that the image was made from belongs to the source account", func(i ec2types.Image) string { return aws.ToString(i.SourceInstanceId) }},
	{"ProductCodes", Lost, "2.3.5", "product codes sit on the snapshots", func(i ec2types.Image) string { return countText(len(i.ProductCodes)) }},

	{"CreationDate", OutputOnly, "9.0", "", nil},
	{"DeregistrationProtection", OutputOnly, "9.5", "", nil}, // off on every new image; ours protects the source only
	{"FreeTierEligible", OutputOnly, "9.0", "", nil},
	{"ImageAllowed", OutputOnly, "9.8", "", nil},
	{"ImageId", OutputOnly, "9.0", "", nil},
	{"ImageLocation", OutputOnly, "2.5.6", "", nil},
	{"ImageOwnerAlias", OutputOnly, "9.0", "", nil},
	{"LastLaunchedTime", OutputOnly, "9.5", "", nil},
	{"OwnerId", OutputOnly, "9.0", "", nil},
	{"Public", OutputOnly, "9.0", "", nil},
	{"PublicSsmParameterName", OutputOnly, "7.12", "", nil},
	{"ScanResults", OutputOnly, "9.20", "", nil},
	{"State", OutputOnly, "9.0", "", nil},
	{"StateReason", OutputOnly, "9.0", "", nil},
}

// DeviceTable names every member of the pinned SDK's EbsBlockDevice (rules 1.5, 9.0).
var DeviceTable = []struct {
	Name string
	How  How
	Rule string
}{
	{"DeleteOnTermination", Kept, "2.4"},
	{"Iops", Kept, "2.4"},
	{"Throughput", Kept, "2.4"},
	{"VolumeInitializationRate", Kept, "9.10"},
	{"VolumeSize", Kept, "2.4"},
	{"VolumeType", Kept, "2.4"},
	{"SnapshotId", Set, "1.5.6"},            // the target's own copy
	{"Encrypted", Set, "1.5.1"},             // must be absent; the snapshot carries it
	{"KmsKeyId", Set, "1.5.2"},              // likewise
	{"AvailabilityZone", OutputOnly, "9.0"}, // of launches
	{"AvailabilityZoneId", OutputOnly, "9.0"},
	{"EbsCardIndex", OutputOnly, "9.16"},
	{"OutpostArn", OutputOnly, "9.0"}, // snapshots on an Outpost are refused
}

// Carry says what becomes of every attribute that an image has.
func Carry(image ec2types.Image, uefiData string) []Carried {
	var all []Carried
	for _, a := range CarryTable {
		if a.How == OutputOnly || a.Text != nil && a.Text(image) == "" {
			continue
		}
		all = append(all, Carried{a.Name, a.How, a.Why})
	}
	if uefiData != "" {
		all = append(all, Carried{"UefiData", Kept, ""})
	}
	return all
}

// Differences names the kept attributes in which a registered image differs from its source, as "Attribute: source, target".
func Differences(source, target ec2types.Image) []string {
	var found []string
	for _, a := range CarryTable {
		if a.How != Kept {
			continue
		}
		if want, is := a.Text(source), a.Text(target); want != is {
			found = append(found, fmt.Sprintf("%s: %q in the source, %q in the target", a.Name, want, is))
		}
	}
	return found
}

// devicesText is all that RegisterImage keeps of the block devices, in an order of its own: AWS promises none (4.3.2).
func devicesText(devices []ec2types.BlockDeviceMapping) string {
	lines := make([]string, 0, len(devices))
	for _, d := range devices {
		line := aws.ToString(d.DeviceName)
		if d.VirtualName != nil {
			line += " virtual=" + *d.VirtualName
		}
		if d.NoDevice != nil {
			line += " none"
		}
		if e := d.Ebs; e != nil {
			line += fmt.Sprintf(" type=%s size=%s iops=%s throughput=%s rate=%s delete=%s", e.VolumeType, numberText(e.VolumeSize),
				numberText(e.Iops), numberText(e.Throughput), numberText(e.VolumeInitializationRate), flagText(e.DeleteOnTermination))
			if e.SnapshotId == nil { // an empty volume (1.5.5)
				line += " encrypted=" + flagText(e.Encrypted)
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func flagText(flag *bool) string {
	if aws.ToBool(flag) {
		return "true"
	}
	return ""
}

func numberText(number *int32) string {
	if number == nil {
		return "-"
	}
	return fmt.Sprint(*number)
}

// countText is "" for none.
func countText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
