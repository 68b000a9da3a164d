// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// Intent is what amazon-ebs is told to build, in its own words: for a plan before there is an image. The build's Region is
// Request.Build's, the Regions of the image are those of Request.Images, with the id Unbuilt.
type BuildConfig struct {
	BaseAMI         string // ami-...; "": what Filter finds
	Filter          BaseFilter
	AMIName         string            // "": not known
	EncryptBoot     *bool             // nil: not given
	KMSKeyID        string            // of encrypt_boot in the build's Region
	RegionKMSKeyIDs map[string]string // of encrypt_boot, Region -> key
	Launch          []LaunchVolume
}

// BaseFilter finds the image that a build starts from.
type BaseFilter struct {
	Filters           map[string]string // name -> value, as DescribeImages takes them
	Owners            []string
	MostRecent        bool // of several; else there must be one
	IncludeDeprecated bool
}

// LaunchVolume is an element of launch_block_device_mappings.
type LaunchVolume struct {
	Device     string // /dev/xvda
	Encrypted  *bool  // nil: not given
	KMSKeyID   string
	SnapshotID string
	GiB        int64 // 0: that of what it is made from
	NoDevice   bool
}

// Unbuilt is the id of an image that is not made yet.
const Unbuilt = "ami-to-be-built"

// unbuiltName stands for a name that is not known.
const UnbuiltName = "ami-to-be-built"
