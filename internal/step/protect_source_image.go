// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// EnableSourceProtection enables deregistration protection of the source image, without a cool-down (rule A.2). It
// runs first, because Packer deregisters the image if a post-processor fails.
type EnableSourceProtection struct {
	Base
	ImageID string
}

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

// DisableSourceProtection disables what EnableSourceProtection enabled, at the end of a successful run.
type DisableSourceProtection struct {
	Base
	ImageID string
}

func (s *DisableSourceProtection) Permissions() []Permission {
	image := s.Location.ImageARN(s.ImageID)
	return []Permission{{"ec2:DisableImageDeregistrationProtection", image, "A.2.1"}}
}

func (s *DisableSourceProtection) ResourceID() string { return s.ImageID }

func (s *DisableSourceProtection) String() string {
	return fmt.Sprintf("lift the protection of %s in %s", s.ImageID, s.Location.Region)
}
