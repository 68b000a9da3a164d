// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// withoutSnapshots returns the data that a new version inherits: the snapshots of its block device mapping are ignored
// unless the request gives them (SDK, SourceVersion of CreateLaunchTemplateVersion).
func withoutSnapshots(data types.RequestLaunchTemplateData) types.RequestLaunchTemplateData {
	data.BlockDeviceMappings = slices.Clone(data.BlockDeviceMappings)
	for i, mapping := range data.BlockDeviceMappings {
		if mapping.Ebs != nil {
			volume := *mapping.Ebs
			volume.SnapshotId = nil
			data.BlockDeviceMappings[i].Ebs = &volume
		}
	}
	return data
}
