// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// createImage creates an image of an instance. Each volume gets a snapshot under the volume's key (rule 1.2.1). Other
// attributes come from the instance's own image.
func (w *World) createImage(c *Call, in *ec2.CreateImageInput) (*ec2.CreateImageOutput, error) {
	err := refuseUnmodeled(in, "InstanceId", "Name", "BlockDeviceMappings", "Description", "NoReboot", "TagSpecifications")
	if err != nil {
		return nil, err
	}
	if in.InstanceId == nil {
		return nil, missingParameter("InstanceId")
	}
	if err := w.validateImageName(c, in.Name); err != nil {
		return nil, err
	}
	if err := w.validateDescription(c, in.Description); err != nil {
		return nil, err
	}

	err = w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeImage, types.ResourceTypeSnapshot)
	if err != nil {
		return nil, err
	}

	requests := []AuthorizationRequest{
		newImageCreationAuthorization(c),
		newAuthorization(c, c.location(), "instance/"+*in.InstanceId).withContext(w.resourceTagContext(*in.InstanceId)),
		newAuthorization(c, c.location(), "snapshot/*"),
	}

	if err := w.authorize(c, addTagOnCreate(c, in.TagSpecifications, requests...)...); err != nil {
		return nil, err
	}

	found, err := w.findOwnInstances(c, []string{*in.InstanceId})
	if err != nil {
		return nil, err
	}

	from := found[0]
	if !from.isInState(
		c.At, types.InstanceStateNameRunning, types.InstanceStateNameStopping, types.InstanceStateNameStopped,
	) {
		return nil, badRequest("IncorrectState", "The instance '%s' is not in the state 'running' or 'stopped'.", from.id)
	}
	if err := w.validateNameAvailable(c, *in.Name); err != nil {
		return nil, err
	}
	if err := w.validateDeviceOverrides(c, from, in.BlockDeviceMappings); err != nil {
		return nil, err
	}

	created := w.newImageFrom(from)
	created.attributes.Name, created.attributes.Description = in.Name, nonZero(in.Description)
	created.attributes.BlockDeviceMappings = w.snapshotVolumes(c, from, in, created)
	w.addImage(c, created, in.TagSpecifications)
	for _, part := range created.snapshots {
		part.description = fmt.Sprintf("Created by CreateImage(%s) for %s", from.id, created.id)
	}

	return &ec2.CreateImageOutput{ImageId: &created.id}, nil
}

// newImageFrom returns an image with the attributes that an instance has from its image.
func (w *World) newImageFrom(from *instance) *image {
	created := &image{}
	if base, ok := w.images.get(aws.ToString(from.attributes.ImageId)); ok {
		created.attributes, created.uefiData, created.platform = base.attributes, base.uefiData, base.platform
		created.attributes.SourceImageId, created.attributes.SourceImageRegion = &base.id, &base.location.region
	}

	created.attributes.SourceInstanceId, created.attributes.RootDeviceType = &from.id, types.DeviceTypeEbs
	if name := aws.ToString(from.attributes.RootDeviceName); name != "" {
		created.attributes.RootDeviceName = &name
	}
	if from.attributes.EnaSupport != nil {
		created.attributes.EnaSupport = nonZero(from.attributes.EnaSupport)
	}
	if from.attributes.SriovNetSupport != nil {
		created.attributes.SriovNetSupport = nonZero(from.attributes.SriovNetSupport)
	}

	return created
}

// validateDeviceOverrides checks the block device mappings of CreateImage. They cannot change the encryption of an
// attached volume (rule 1.2.1).
func (w *World) validateDeviceOverrides(c *Call, from *instance, overrides []types.BlockDeviceMapping) error {
	for _, override := range overrides {
		v, attached := w.findAttachedVolume(from, aws.ToString(override.DeviceName))
		if override.Ebs == nil || !attached {
			continue
		}
		if w.violates(c, "1.2.1", v.keyARN == "" && aws.ToBool(override.Ebs.Encrypted)) {
			return badRequest(
				"InvalidBlockDeviceMapping", "The encryption of the volume attached as %s cannot be changed by CreateImage.",
				*override.DeviceName,
			)
		}
	}

	return nil
}

// findAttachedVolume returns the volume that is attached to an instance under a device name.
func (w *World) findAttachedVolume(from *instance, name string) (*volume, bool) {
	for _, d := range from.devices {
		if d.name == name {
			return w.volumes.get(d.volume)
		}
	}
	return nil, false
}

// snapshotVolumes starts the snapshots of an instance's volumes. It returns the block device mappings of the new image.
func (w *World) snapshotVolumes(
	c *Call, from *instance, in *ec2.CreateImageInput, created *image,
) (devices []types.BlockDeviceMapping) {
	override := func(name string) *types.BlockDeviceMapping {
		i := slices.IndexFunc(in.BlockDeviceMappings, func(m types.BlockDeviceMapping) bool {
			return aws.ToString(m.DeviceName) == name
		})
		if i < 0 {
			return nil
		}
		return &in.BlockDeviceMappings[i]
	}

	attached := map[string]bool{}
	for _, d := range from.devices {
		attached[d.name] = true
		asked := override(d.name)
		if asked != nil && asked.NoDevice != nil {
			continue
		}

		v, ok := w.volumes.get(d.volume)
		if !ok {
			continue
		}

		part := w.startVolumeSnapshot(c, v, "", in.TagSpecifications)
		created.snapshots = append(created.snapshots, part)
		ebs := types.EbsBlockDevice{
			SnapshotId:          &part.id,
			VolumeSize:          &v.sizeGiB,
			VolumeType:          v.volumeType,
			DeleteOnTermination: aws.Bool(d.deleteOnTermination),
		}

		if v.volumeType != types.VolumeTypeGp2 {
			ebs.Iops, ebs.Throughput = v.iops, v.throughput
		}
		if asked != nil && asked.Ebs != nil {
			wanted := *asked.Ebs
			wanted.SnapshotId, wanted.Encrypted, wanted.KmsKeyId = nil, nil, nil
			ebs = overlay(ebs, wanted)
		}

		devices = append(devices, types.BlockDeviceMapping{DeviceName: &d.name, Ebs: &ebs})
	}

	for _, extra := range in.BlockDeviceMappings {
		if !attached[aws.ToString(extra.DeviceName)] {
			devices = append(devices, extra)
		}
	}

	return devices
}
