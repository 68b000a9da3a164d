// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// EnableSourceProtection switches deregistration protection on, without cool-down (A.2). It runs before anything that can fail: an error
// of a post-processor makes Packer deregister the image.
type EnableSourceProtection struct {
	Base
	ImageID string
}

// Permissions returns the actions that the step uses.
func (s *EnableSourceProtection) Permissions() []Permission {
	image := s.Location.ImageARN(s.ImageID)
	return []Permission{
		{"ec2:DescribeImages", "*", "A.2.3"},
		{"ec2:EnableImageDeregistrationProtection", image, "A.2.1"},
	}
}

func (s *EnableSourceProtection) ResourceID() string { return s.ImageID }

func (s *EnableSourceProtection) String() string {
	return fmt.Sprintf("protect %s in %s against deregistration", s.ImageID, s.Location.Region)
}

// DisableSourceProtection switches off what EnableSourceProtection switched on, as the last act of a run that succeeded.
type DisableSourceProtection struct {
	Base
	ImageID string
}

// Permissions returns the actions that the step uses.
func (s *DisableSourceProtection) Permissions() []Permission {
	image := s.Location.ImageARN(s.ImageID)
	return []Permission{{"ec2:DisableImageDeregistrationProtection", image, "A.2.1"}}
}

func (s *DisableSourceProtection) ResourceID() string { return s.ImageID }

func (s *DisableSourceProtection) String() string {
	return fmt.Sprintf("lift the protection of %s in %s", s.ImageID, s.Location.Region)
}
