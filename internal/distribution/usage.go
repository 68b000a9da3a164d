// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import "time"

// ImageUse is a resource that names an image.
type ImageUse struct {
	ImageID  string
	Kind     string // one of the kinds below
	Resource string // ID or name
	Detail   string // state of an instance, versions of a launch template, number of instances of a group
}

// Kinds of ImageUse.
const (
	UseByInstance         = "instance"
	UseByAutoScalingGroup = "auto_scaling_group" // a group with instances; its launch template is a use of its own
	UseByLaunchTemplate   = "launch_template"
	UseByParameter        = "ssm_parameter"
	UseByRecipe           = "image_recipe" // of EC2 Image Builder
)

// ImageUseFacts holds the uses of images at a location.
type ImageUseFacts struct {
	Uses []ImageUse
	Errs []*APIError // why the uses are not known completely
}

// ReleaseUsage is the usage of an image that a run delivered to a destination.
type ReleaseUsage struct {
	At       Location
	Target   string
	SourceID string // ID of the source image
	Release  time.Time
	ImageID  string
	Name     string
	State    string     // of the image
	Uses     []ImageUse // by kind, then resource
	Unknown  bool       // a lookup failed, so that there may be further uses
}
