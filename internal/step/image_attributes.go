// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Attribute is a member of the SDK's Image with its handling in a copy.
type Attribute struct {
	Name string                         // of the member
	How  distribution.AttributeHandling // with CopySnapshot and RegisterImage
	Rule string
	Why  string                      // if Lost: what the copy lacks
	Text func(ec2types.Image) string // value for comparisons, empty if absent. Nil if it is not compared

	Copied   distribution.AttributeHandling // with CopyImage; How applies if empty
	Regional bool                           // the value is valid in one Region; CopyImage maps it

	// Keeps reports whether a copy keeps the value of its source. Nil if both must have the same Text.
	Keeps func(source, copied ec2types.Image) bool

	// Obstacle returns why an image with the attribute cannot be registered from snapshots. Empty if it can.
	Obstacle func(ec2types.Image) string
}

// By returns the handling of the attribute with a method.
func (a Attribute) By(m distribution.Method) distribution.AttributeHandling {
	if m == distribution.ByImage && a.Copied != "" {
		return a.Copied
	}
	return a.How
}

// CarryTable has every member of the pinned SDK's Image (rules 2.4, 9.0). A test reports a new member after an update
// of the SDK, so that it is not lost. UEFI data is not a member of Image; RegisterImage keeps it too.
var CarryTable = []Attribute{
	{
		Name: "Architecture",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return string(i.Architecture) },
	},
	{
		Name: "BlockDeviceMappings",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return devicesText(i.BlockDeviceMappings) },
	},
	{
		Name: "BootMode",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return string(i.BootMode) },
	},
	{
		Name: "EnaSupport",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return flagText(i.EnaSupport) },
	},
	{
		Name: "ImdsSupport",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return string(i.ImdsSupport) },
	},
	{
		Name:     "KernelId",
		How:      distribution.Kept,
		Rule:     "2.4",
		Regional: true,
		Text:     func(i ec2types.Image) string { return aws.ToString(i.KernelId) },
	},
	{
		Name:     "RamdiskId",
		How:      distribution.Kept,
		Rule:     "2.4",
		Regional: true,
		Text:     func(i ec2types.Image) string { return aws.ToString(i.RamdiskId) },
	},
	{
		Name: "RootDeviceName",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return aws.ToString(i.RootDeviceName) },
	},
	{
		Name: "RootDeviceType",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return string(i.RootDeviceType) },
	},
	{
		Name: "SriovNetSupport",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return aws.ToString(i.SriovNetSupport) },
	},
	{
		Name:     "TpmSupport",
		How:      distribution.Kept,
		Rule:     "2.4",
		Obstacle: reasonTPM,
		Text:     func(i ec2types.Image) string { return string(i.TpmSupport) },
	},
	{
		Name: "VirtualizationType",
		How:  distribution.Kept,
		Rule: "2.4",
		Text: func(i ec2types.Image) string { return string(i.VirtualizationType) },
	},
	{
		Name: "Hypervisor",
		How:  distribution.Kept,
		Rule: "2.5.6",
		Text: func(i ec2types.Image) string { return string(i.Hypervisor) },
	},
	{
		Name: "ImageType",
		How:  distribution.Kept,
		Rule: "2.5.6",
		Text: func(i ec2types.Image) string { return string(i.ImageType) },
	},
	{
		Name: "Platform",
		How:  distribution.Kept,
		Rule: "2.3.3",
		Text: func(i ec2types.Image) string { return string(i.Platform) },
	},
	{
		Name: "ProductCodes",
		How:  distribution.Kept,
		Rule: "2.3.5",
		Text: func(i ec2types.Image) string { return countText(len(i.ProductCodes)) },
	},
	{
		Name: "PlatformDetails",
		How:  distribution.Kept,
		Rule: "2.3.3",
		Text: func(i ec2types.Image) string { return aws.ToString(i.PlatformDetails) },
	},
	{
		Name:     "UsageOperation",
		How:      distribution.Kept,
		Rule:     "2.3.3",
		Obstacle: reasonBilling,
		Text:     func(i ec2types.Image) string { return aws.ToString(i.UsageOperation) },
	},

	{Name: "Name", How: distribution.Set, Rule: "2.5.2"},
	{Name: "Description", How: distribution.Set, Rule: "2.4"},
	{Name: "Tags", How: distribution.Set, Rule: "2.4"},

	{
		Name: "DeprecationTime",
		How:  distribution.Lost,
		Rule: "2.4",
		Why:  "the date after which the image is deprecated",
		Text: func(i ec2types.Image) string { return aws.ToString(i.DeprecationTime) },
	},
	{
		Name:     "ImageWatermarks",
		How:      distribution.Lost,
		Rule:     "9.17",
		Why:      "watermarks cannot be given to a registered image",
		Copied:   distribution.Kept,
		Obstacle: reasonWatermarks,
		Text:     watermarksText,
		Keeps:    keepsWatermarks,
	},
	{
		Name:     "InstanceTypeSpecification",
		How:      distribution.Lost,
		Rule:     "9.18",
		Why:      "the instance types that the image allows cannot be given to a registered image",
		Copied:   distribution.Kept,
		Obstacle: reasonInstanceTypes,
		Text:     instanceTypesText,
	},
	{
		Name:   "SourceImageId",
		How:    distribution.Lost,
		Rule:   "9.14",
		Why:    "AWS keeps no ancestry of a registered image; its tags name the source",
		Copied: distribution.Set,
		Text:   func(i ec2types.Image) string { return aws.ToString(i.SourceImageId) },
	},
	{
		Name:   "SourceImageRegion",
		How:    distribution.Lost,
		Rule:   "9.14",
		Why:    "AWS keeps no ancestry of a registered image; its tags name the source",
		Copied: distribution.Set,
		Text:   func(i ec2types.Image) string { return aws.ToString(i.SourceImageRegion) },
	},

	{Name: "CreationDate", How: distribution.OutputOnly, Rule: "9.0"},
	{
		Name: "DeregistrationProtection",
		How:  distribution.OutputOnly,
		Rule: "9.5",
	}, // disabled for every new image
	{Name: "FreeTierEligible", How: distribution.OutputOnly, Rule: "9.0"},
	{Name: "ImageAllowed", How: distribution.OutputOnly, Rule: "9.8"},
	{Name: "ImageId", How: distribution.OutputOnly, Rule: "9.0"},
	{Name: "ImageLocation", How: distribution.OutputOnly, Rule: "2.5.6"},
	{Name: "ImageOwnerAlias", How: distribution.OutputOnly, Rule: "9.0"},
	{Name: "LastLaunchedTime", How: distribution.OutputOnly, Rule: "9.5"},
	{Name: "OwnerId", How: distribution.OutputOnly, Rule: "9.0"},
	{Name: "Public", How: distribution.OutputOnly, Rule: "9.0"},
	{Name: "PublicSsmParameterName", How: distribution.OutputOnly, Rule: "7.12"},
	{Name: "ScanResults", How: distribution.OutputOnly, Rule: "9.20"},
	{Name: "SourceInstanceId", How: distribution.OutputOnly, Rule: "9.14"}, // an instance of the source account
	{Name: "State", How: distribution.OutputOnly, Rule: "9.0"},
	{Name: "StateReason", How: distribution.OutputOnly, Rule: "9.0"},
}

// DeviceTable names every member of the pinned SDK's EbsBlockDevice (rules 1.5, 9.0).
var DeviceTable = []struct {
	Name string
	How  distribution.AttributeHandling
	Rule string
}{
	{"DeleteOnTermination", distribution.Kept, "2.4"},
	{"Iops", distribution.Kept, "2.4"},
	{"Throughput", distribution.Kept, "2.4"},
	{"VolumeInitializationRate", distribution.Kept, "9.10"},
	{"VolumeSize", distribution.Kept, "2.4"},
	{"VolumeType", distribution.Kept, "2.4"},
	{"SnapshotId", distribution.Set, "1.5.6"},            // that of the copied snapshot
	{"Encrypted", distribution.Set, "1.5.1"},             // must be absent, because the snapshot determines it
	{"KmsKeyId", distribution.Set, "1.5.2"},              // must be absent from the request, like Encrypted
	{"AvailabilityZone", distribution.OutputOnly, "9.0"}, // of launches
	{"AvailabilityZoneId", distribution.OutputOnly, "9.0"},
	{"EbsCardIndex", distribution.OutputOnly, "9.16"},
	{"OutpostArn", distribution.OutputOnly, "9.0"}, // snapshots on an Outpost are refused
}

func instanceTypesText(i ec2types.Image) string {
	s := i.InstanceTypeSpecification
	if s == nil {
		return ""
	}
	return countText(len(s.SupportedInstanceTypes) + len(s.UnsupportedInstanceTypes))
}

func reasonTPM(i ec2types.Image) string {
	if i.TpmSupport == ec2types.TpmSupportValuesV20 && i.BootMode != ec2types.BootModeValuesUefi {
		return fmt.Sprintf("RegisterImage takes TPM support v2.0 with boot mode uefi only; the image has %q", i.BootMode)
	}
	return ""
}

func reasonBilling(i ec2types.Image) string {
	if operation := aws.ToString(i.UsageOperation); operation != "" && operation != "RunInstances" {
		return fmt.Sprintf("%s is billed as %s, and RegisterImage takes no billing information from its caller",
			aws.ToString(i.PlatformDetails), operation)
	}
	return ""
}

func reasonWatermarks(i ec2types.Image) string {
	if len(i.ImageWatermarks) > 0 {
		return "RegisterImage takes no watermarks"
	}
	return ""
}

// WatermarkKeys returns the keys of an image's watermarks, sorted.
func WatermarkKeys(image ec2types.Image) []string {
	keys := make([]string, len(image.ImageWatermarks))
	for i, watermark := range image.ImageWatermarks {
		keys[i] = aws.ToString(watermark.WatermarkKey)
	}
	slices.Sort(keys)
	return keys
}

func watermarksText(i ec2types.Image) string { return strings.Join(WatermarkKeys(i), ", ") }

// keepsWatermarks reports whether a copy has the watermarks of its source. It may have others as well (rule 9.17).
func keepsWatermarks(source, copied ec2types.Image) bool {
	kept := WatermarkKeys(copied)
	return !slices.ContainsFunc(WatermarkKeys(source), func(key string) bool { return !slices.Contains(kept, key) })
}

func reasonInstanceTypes(i ec2types.Image) string {
	if i.InstanceTypeSpecification != nil {
		return "RegisterImage takes no instance types that the image allows"
	}
	return ""
}

// devicesText returns what RegisterImage keeps of the block devices, sorted, because AWS guarantees no order (4.3.2).
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
			line += volumeText(*e)
		}
		lines = append(lines, line)
	}

	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func volumeText(e ec2types.EbsBlockDevice) string {
	text := fmt.Sprintf(" type=%s size=%s iops=%s throughput=%s rate=%s delete=%s",
		e.VolumeType,
		numberText(e.VolumeSize),
		numberText(e.Iops),
		numberText(e.Throughput),
		numberText(e.VolumeInitializationRate),
		flagText(e.DeleteOnTermination))
	if e.SnapshotId == nil { // an empty volume (1.5.5)
		text += " encrypted=" + flagText(e.Encrypted)
	}
	return text
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

// countText returns a number. Empty if it is 0.
func countText(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// ImageSpec describes the expected image of a destination. It equals the source image except for the name and the
// fields below.
type ImageSpec struct {
	Source      *ec2types.Image     // image whose attributes are copied
	UEFIData    string              // base64. Empty for none
	Method      distribution.Method // BySnapshot or ByImage
	Abroad      bool                // the source is in another Region
	Name        string
	Description string
	Tags        map[string]string // set by the creating call
	Signing     Signing
}

// Digest returns 32 hexadecimal digits that depend only on the parts.
func Digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return hex.EncodeToString(sum[:16])
}

// Differences returns the attributes in which an image differs from its source, as "Attribute: source, target".
func (l ImageSpec) Differences(target ec2types.Image) []string {
	var found []string
	for _, a := range CarryTable {
		if a.By(l.Method) != distribution.Kept {
			continue
		}
		want, is := a.Text(*l.Source), a.Text(target)
		isMapped := a.Regional && l.Abroad && want != "" && is != ""
		isKept := a.Keeps != nil && a.Keeps(*l.Source, target)
		if want != is && !isMapped && !isKept {
			found = append(found, fmt.Sprintf("%s: %q in the source, %q in the target", a.Name, want, is))
		}
	}
	return found
}
