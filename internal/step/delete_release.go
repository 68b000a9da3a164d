// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"time"
)

// DeleteRelease deregisters an older release with its snapshots (rule 9.11). A protected, shared or used release
// stays (rule 9.12). That is checked right before the call, and a release that stays is no failure.
type DeleteRelease struct {
	Base
	ImageID string
	Name    string    // for messages
	Release time.Time // of the image that replaces it. A newer release is kept
	DryRun  bool      // report the release and keep it
}

// referencePermissions are the permissions that DescribeImageReferences needs for all kinds of references. Without
// one, AWS may leave out that kind (EC2-UG:ec2-ami-references).
var referencePermissions = []string{
	"ec2:DescribeLaunchTemplates",
	"ec2:DescribeLaunchTemplateVersions",
	"imagebuilder:GetContainerRecipe",
	"imagebuilder:ListContainerRecipes",
	"imagebuilder:ListImageRecipes",
	"ssm:DescribeParameters",
	"ssm:GetParameters",
}

func (s *DeleteRelease) Permissions() []Permission {
	looks := []Permission{
		{"ec2:DescribeImages", "*", "4.4.1"},
		{"ec2:DescribeImageReferences", "*", "9.12"},
		{"ec2:DescribeInstances", "*", "8.7"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.ImageID), "2.2.11"},
	}

	for _, action := range referencePermissions {
		looks = append(looks, Permission{action, "*", "9.12"})
	}

	if s.DryRun {
		return looks
	}

	return append(
		[]Permission{
			{"ec2:DeregisterImage", s.Location.ImageARN(s.ImageID), "2.5.9"},
			{"ec2:DeleteSnapshot", s.Location.SnapshotARN("*"), "9.11"},
		},
		looks...)
}

func (s *DeleteRelease) ResourceID() string { return s.ImageID }

func (s *DeleteRelease) String() string {
	if s.DryRun {
		return fmt.Sprintf("check whether the older release %s %q in %s would be deregistered", s.ImageID, s.Name, s.Location)
	}
	return fmt.Sprintf(
		"deregister the older release %s %q with its snapshots in %s, unless it is in use",
		s.ImageID,
		s.Name,
		s.Location,
	)
}
