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

// createImage makes an image of an instance: a snapshot of each of its volumes, under the volume's key (1.2.1), and what the
// instance's own image was.
func (w *World) createImage(c *Call, in *ec2.CreateImageInput) (*ec2.CreateImageOutput, error) {
	if err := only(in, "InstanceId", "Name", "BlockDeviceMappings", "Description", "NoReboot", "TagSpecifications"); err != nil {
		return nil, err
	}
	if in.InstanceId == nil {
		return nil, missing("InstanceId")
	}
	if err := w.checkImageName(c, in.Name); err != nil {
		return nil, err
	}
	if err := w.checkTags(c, in.TagSpecifications, types.ResourceTypeImage, types.ResourceTypeSnapshot); err != nil {
		return nil, err
	}
	asks := []Ask{askNewImage(c), ask(c, c.place(), "instance/"+*in.InstanceId).with(w.resourceTags(*in.InstanceId)), ask(c, c.place(), "snapshot/*")}
	if err := w.authorise(c, creating(c, in.TagSpecifications, asks...)...); err != nil {
		return nil, err
	}
	found, err := w.ownInstances(c, []string{*in.InstanceId})
	if err != nil {
		return nil, err
	}
	from := found[0]
	if !from.is(c.At, types.InstanceStateNameRunning, types.InstanceStateNameStopping, types.InstanceStateNameStopped) {
		return nil, invalid("IncorrectState", "The instance '%s' is not in the state 'running' or 'stopped'.", from.id)
	}
	if err := w.checkNameFree(c, *in.Name); err != nil {
		return nil, err
	}
	if err := w.checkOverrides(c, from, in.BlockDeviceMappings); err != nil {
		return nil, err
	}
	made := w.imageOf(from)
	made.about.Name, made.about.Description = in.Name, given(in.Description)
	made.about.BlockDeviceMappings = w.snapshotDevices(c, from, in, made)
	w.addImage(c, made, in.TagSpecifications)
	for _, part := range made.parts {
		part.description = fmt.Sprintf("Created by CreateImage(%s) for %s", from.id, made.id)
	}
	return &ec2.CreateImageOutput{ImageId: &made.id}, nil
}

// imageOf is an image with what an instance has of its own image.
func (w *World) imageOf(from *instance) *image {
	made := &image{}
	if base, there := w.images.get(aws.ToString(from.launched.ImageId)); there {
		made.about, made.uefiData, made.platform = base.about, base.uefiData, base.platform
		made.about.SourceImageId, made.about.SourceImageRegion = &base.id, &base.home.region
	}
	made.about.SourceInstanceId, made.about.RootDeviceType = &from.id, types.DeviceTypeEbs
	if name := aws.ToString(from.launched.RootDeviceName); name != "" {
		made.about.RootDeviceName = &name
	}
	if from.launched.EnaSupport != nil {
		made.about.EnaSupport = given(from.launched.EnaSupport)
	}
	if from.launched.SriovNetSupport != nil {
		made.about.SriovNetSupport = given(from.launched.SriovNetSupport)
	}
	return made
}

// checkOverrides judges the block devices of a CreateImage: they cannot change the encryption of a volume that is there;
// for an unencrypted one Encrypted may be false, for an encrypted one the field is ignored (1.2.1).
func (w *World) checkOverrides(c *Call, from *instance, overrides []types.BlockDeviceMapping) error {
	for _, override := range overrides {
		v, attached := w.volumeAt(from, aws.ToString(override.DeviceName))
		if override.Ebs == nil || !attached {
			continue
		}
		if w.breaks(c, "1.2.1", v.keyARN == "" && aws.ToBool(override.Ebs.Encrypted)) {
			return invalid("InvalidBlockDeviceMapping", "The encryption of the volume attached as %s cannot be changed by CreateImage.", *override.DeviceName)
		}
	}
	return nil
}

// volumeAt is the volume that is attached to an instance under a name.
func (w *World) volumeAt(from *instance, name string) (*volume, bool) {
	for _, d := range from.devices {
		if d.name == name {
			return w.volumes.get(d.volume)
		}
	}
	return nil, false
}

// snapshotDevices begins the snapshots of an instance's volumes and tells the block devices of the new image.
func (w *World) snapshotDevices(c *Call, from *instance, in *ec2.CreateImageInput, made *image) (devices []types.BlockDeviceMapping) {
	override := func(name string) *types.BlockDeviceMapping {
		i := slices.IndexFunc(in.BlockDeviceMappings, func(m types.BlockDeviceMapping) bool { return aws.ToString(m.DeviceName) == name })
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
		v, there := w.volumes.get(d.volume)
		if !there {
			continue
		}
		part := w.snapshotVolume(c, v, "", in.TagSpecifications)
		made.parts = append(made.parts, part)
		ebs := types.EbsBlockDevice{
			SnapshotId: &part.id, VolumeSize: &v.gib, VolumeType: v.kind, DeleteOnTermination: aws.Bool(d.deleteOnTermination),
		}
		if v.kind != types.VolumeTypeGp2 {
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
