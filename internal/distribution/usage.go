// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"time"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ImageUse is a resource that names an image.
type ImageUse struct {
	ImageID  string
	Kind     string // name of one of UseKinds
	Resource string // ID or name
	Detail   string // state of an instance, versions of a launch template, number of instances of a group
}

// Kinds of ImageUse, beside those of publish targets.
const (
	UseByInstance         = "instance"
	UseByAutoScalingGroup = "auto_scaling_group" // a group with instances; its launch template is a use of its own
	UseByRecipe           = "image_recipe"       // of EC2 Image Builder
)

// UseKind is a kind of ImageUse.
type UseKind struct {
	Name             string
	Singular, Plural string // in texts

	// References are the resource types of DescribeImageReferences that list this kind of use. Empty if another call
	// finds it.
	References []ec2types.ImageReferenceResourceType
}

// UseKinds are all kinds.
var UseKinds = append([]UseKind{
	{Name: UseByInstance, Singular: "instance", Plural: "instances"},
	{Name: UseByAutoScalingGroup, Singular: "Auto Scaling group", Plural: "Auto Scaling groups"},
	{
		Name:     UseByRecipe,
		Singular: "recipe",
		Plural:   "recipes",
		References: []ec2types.ImageReferenceResourceType{
			ec2types.ImageReferenceResourceTypeImageBuilderImageRecipe,
			ec2types.ImageReferenceResourceTypeImageBuilderContainerRecipe,
		},
	},
}, publishTargetUses...)

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
