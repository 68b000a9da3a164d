// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// BuildConfig holds the options of an amazon-ebs builder, for a plan before the image exists. The Region of the build
// is that of Request.Build. The Regions of the image are those of Request.Images, which then have the id Unbuilt.
type BuildConfig struct {
	BaseAMI         string // ami-...; if empty, Filter selects it
	Filter          BaseFilter
	AMIName         string            // empty if unknown
	EncryptBoot     *bool             // nil if not set
	KMSKeyID        string            // of encrypt_boot in the build's Region
	RegionKMSKeyIDs map[string]string // of encrypt_boot, Region -> key
	Launch          []LaunchVolume
}

// BaseFilter selects the base AMI of a build.
type BaseFilter struct {
	Filters           map[string]string // name -> value, as in DescribeImages
	Owners            []string
	MostRecent        bool // if several match; else exactly one must match
	IncludeDeprecated bool
}

// LaunchVolume is one of the launch_block_device_mappings.
type LaunchVolume struct {
	Device     string // /dev/xvda
	Encrypted  *bool  // nil if not set
	KMSKeyID   string
	SnapshotID string
	GiB        int64 // if 0, the size of its snapshot
	NoDevice   bool
}

// Unbuilt is the id of an image that does not exist yet.
const Unbuilt = "ami-to-be-built"

// UnbuiltName is the name of such an image if it is unknown.
const UnbuiltName = "ami-to-be-built"
