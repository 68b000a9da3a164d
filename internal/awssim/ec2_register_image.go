// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// registerImage creates an image of the caller's own snapshots. It has only the attributes of the request. Defaults for
// missing attributes are old, such as i386 and paravirtual (rule 2.4).
func (w *World) registerImage(c *Call, in *ec2.RegisterImageInput) (*ec2.RegisterImageOutput, error) {
	if err := w.validateRegisterImage(c, in); err != nil {
		return nil, err
	}

	requests := []AuthorizationRequest{newImageCreationAuthorization(c)}
	for _, device := range in.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			requests = append(requests, w.newCopySourceAuthorization(c, c.Region, *device.Ebs.SnapshotId))
		}
	}

	if err := w.authorize(c, addTagOnCreate(c, in.TagSpecifications, requests...)...); err != nil {
		return nil, err
	}

	billing, err := w.parseBillingProducts(c, in.BillingProducts)
	if err != nil {
		return nil, err
	}

	devices, root, err := w.registeredDevices(c, in)
	if err != nil {
		return nil, err
	}
	if err := w.validateNameAvailable(c, *in.Name); err != nil {
		return nil, err
	}

	created := &image{uefiData: in.UefiData, platform: billing, attributes: types.Image{
		Name:                in.Name,
		Description:         nonZero(in.Description),
		Architecture:        types.ArchitectureValuesI386,
		VirtualizationType:  types.VirtualizationTypeParavirtual,
		RootDeviceName:      in.RootDeviceName,
		RootDeviceType:      types.DeviceTypeInstanceStore,
		BlockDeviceMappings: devices,
		BootMode:            in.BootMode,
		EnaSupport:          nonZero(in.EnaSupport),
		ImdsSupport:         in.ImdsSupport,
		KernelId:            nonZero(in.KernelId),
		RamdiskId:           nonZero(in.RamdiskId),
		SriovNetSupport:     nonZero(in.SriovNetSupport),
		TpmSupport:          in.TpmSupport,
		Hypervisor:          types.HypervisorTypeXen,
		ImageType:           types.ImageTypeValuesMachine,
	}}

	if in.Architecture != "" {
		created.attributes.Architecture = in.Architecture
	}
	if in.VirtualizationType != nil {
		created.attributes.VirtualizationType = types.VirtualizationType(*in.VirtualizationType)
	}

	if root != nil {
		created.attributes.RootDeviceType = types.DeviceTypeEbs
		if len(in.BillingProducts) == 0 {
			created.platform = root.platform // billing comes from the data, not from the request (rule 2.3.3)
		} else {
			root.platform = billing
		}
	}

	w.addImage(c, created, in.TagSpecifications)
	if in.ImageLocation != nil {
		created.attributes.ImageLocation = in.ImageLocation
	}

	return &ec2.RegisterImageOutput{ImageId: &created.id}, nil
}

// nonZero returns value, or nil if it is the zero value.
func nonZero[T comparable](value *T) *T {
	var zero T
	if value == nil || *value == zero {
		return nil
	}
	return value
}

// validateRegisterImage checks what RegisterImage refuses before it authorizes the call.
func (w *World) validateRegisterImage(c *Call, in *ec2.RegisterImageInput) error {
	if err := w.validateImageName(c, in.Name); err != nil {
		return err
	}
	if err := w.validateDescription(c, in.Description); err != nil {
		return err
	}

	for _, device := range in.BlockDeviceMappings {
		if device.Ebs == nil {
			continue
		}
		if err := w.validateRegisteredEncryption(c, device.Ebs); err != nil {
			return err
		}
		if err := w.validateVolumeRequest(c, volumeRequestOf(*device.Ebs)); err != nil {
			return err
		}
	}

	if err := w.validateFirmware(c, in); err != nil {
		return err
	}

	return w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeImage)
}

// validateRegisteredEncryption refuses encryption parameters in a mapping of RegisterImage.
func (w *World) validateRegisteredEncryption(c *Call, ebs *types.EbsBlockDevice) error {
	if w.violates(c, "1.5.1", ebs.SnapshotId != nil && ebs.Encrypted != nil) {
		return badRequest("InvalidParameter",
			"Parameter encrypted is invalid. You cannot specify the encrypted flag if specifying a snapshot id in a block "+
				"device mapping.")
	}
	if w.violates(c, "1.5.2", ebs.KmsKeyId != nil) {
		return badRequest(
			"InvalidParameter",
			"Parameter KmsKeyId is invalid. You cannot specify a KMS key in a block device mapping of RegisterImage.",
		)
	}

	return nil
}

// validateFirmware checks the attributes that depend on the boot mode and the virtualization type (rule 2.4).
func (w *World) validateFirmware(c *Call, in *ec2.RegisterImageInput) error {
	uefi := in.BootMode == types.BootModeValuesUefi || in.BootMode == types.BootModeValuesUefiPreferred
	switch {
	case w.violates(c, "2.4", in.TpmSupport != "" && in.BootMode != types.BootModeValuesUefi):
		return badRequest("InvalidParameterCombination", "TPM support requires the boot mode uefi.")
	case w.violates(c, "2.4", in.UefiData != nil && !uefi):
		return badRequest("InvalidParameterCombination", "UEFI data requires the boot mode uefi or uefi-preferred.")
	case w.violates(c, "2.4", in.UefiData != nil && !isBase64(*in.UefiData)):
		return badRequest("InvalidParameterValue", "The UEFI data is not valid base64.")
	case w.violates(c, "2.4", in.SriovNetSupport != nil && *in.SriovNetSupport != "simple"):
		return badRequest(
			"InvalidParameterValue", "Invalid value '%s' for sriovNetSupport. Value must be simple.", *in.SriovNetSupport,
		)
	case w.violates(c, "2.4", in.KernelId != nil && aws.ToString(in.VirtualizationType) == "hvm"):
		return badRequest("InvalidParameterCombination", "A kernel can be given for paravirtual images only.")
	case in.VirtualizationType != nil &&
		!slices.Contains(types.VirtualizationType("").Values(), types.VirtualizationType(*in.VirtualizationType)):
		return badRequest(
			"InvalidParameterValue", "Value (%s) for parameter virtualizationType is invalid.", *in.VirtualizationType,
		)
	}

	return nil
}

func isBase64(text string) bool {
	_, err := base64.StdEncoding.DecodeString(text)
	return err == nil
}

// registeredDevices returns the block devices with their defaults, and the root snapshot. The snapshot is nil for an
// instance-store image, which has an ImageLocation instead.
func (w *World) registeredDevices(
	c *Call, in *ec2.RegisterImageInput,
) (devices []types.BlockDeviceMapping, root *snapshot, err error) {
	names := map[string]bool{}
	for _, device := range in.BlockDeviceMappings {
		name := aws.ToString(device.DeviceName)
		if names[name] {
			return nil, nil, badRequest(
				"InvalidBlockDeviceMapping", "The device '%s' is used in more than one block-device mapping", name,
			)
		}

		names[name] = true
		if device.Ebs == nil {
			devices = append(devices, device)
			continue
		}

		kept, s, err := w.registeredVolume(c, *device.Ebs)
		if err != nil {
			return nil, nil, err
		}
		if w.isRootDevice(c, name, aws.ToString(in.RootDeviceName)) {
			root = s
		}
		devices = append(devices, types.BlockDeviceMapping{DeviceName: device.DeviceName, Ebs: &kept})
	}

	if w.violates(c, "2.5.1", root == nil && in.ImageLocation == nil) {
		return nil, nil, badRequest("InvalidBlockDeviceMapping", "No root snapshot specified in device mapping.")
	}

	return devices, root, nil
}

// isRootDevice reports whether a mapping with a device name maps the root device. If the root device is the first
// partition of a disk, such as /dev/sda1, a mapping of the whole disk, such as /dev/sda, counts too.
func (w *World) isRootDevice(c *Call, name, root string) bool {
	return name == root || w.violates(c, "B.8.3", name != "" && root == name+"1")
}

// registeredVolume returns an EBS device with its defaults: gp2, DeleteOnTermination and the size of the snapshot (rule
// 2.4).
func (w *World) registeredVolume(c *Call, ebs types.EbsBlockDevice) (types.EbsBlockDevice, *snapshot, error) {
	kept := types.EbsBlockDevice{
		DeleteOnTermination:      ebs.DeleteOnTermination,
		Iops:                     ebs.Iops,
		Throughput:               ebs.Throughput,
		SnapshotId:               ebs.SnapshotId,
		VolumeSize:               ebs.VolumeSize,
		VolumeType:               ebs.VolumeType,
		VolumeInitializationRate: ebs.VolumeInitializationRate,
		Encrypted:                ebs.Encrypted,
	}
	if kept.DeleteOnTermination == nil {
		kept.DeleteOnTermination = aws.Bool(true)
	}
	if kept.VolumeType == "" {
		kept.VolumeType = types.VolumeTypeGp2
	}

	if ebs.SnapshotId == nil {
		if ebs.VolumeSize == nil {
			return kept, nil, missingParameter("size/snapshot")
		}
		if kept.Encrypted == nil {
			kept.Encrypted = aws.Bool(false)
		}
		return kept, nil, nil
	}

	s, ok := w.snapshots.get(*ebs.SnapshotId)
	if w.violates(c, "2.5.4", !ok || s.location.region != c.Region || !w.isReadableBy(c.location().account, s)) || !ok {
		return kept, nil, badRequest("InvalidSnapshotID.NotFound", "The snapshot ID '%s' does not exist", *ebs.SnapshotId)
	}
	if w.violates(c, "1.5.6", s.location.account != c.location().account) {
		return kept, nil, badRequest(
			"InvalidParameterValue", "Invalid value '%s' for snapshotId. Snapshot does not belong to %s", s.id,
			c.location().account,
		)
	}
	if state := s.state(c.At); state != types.SnapshotStateCompleted {
		return kept, nil, badRequest("InvalidParameterValue", "Snapshot %s is in invalid state - %s", s.id, state)
	}
	if kept.VolumeSize == nil {
		kept.VolumeSize = &s.sizeGiB
	}

	if *kept.VolumeSize < s.sizeGiB {
		return kept, nil, badRequest(
			"InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB",
			*kept.VolumeSize, s.id, s.sizeGiB,
		)
	}

	return kept, s, w.validateVolumeRequest(c, volumeRequestOf(kept))
}
