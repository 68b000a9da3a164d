// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// SealImage gives a source image without a sealing key this one, as a tag. It runs before anything is looked at.
type SealImage struct {
	Base
	ImageID string
	Key     origin.Key
}

// Permissions returns the actions that the step uses.
func (s *SealImage) Permissions() []Permission {
	return []Permission{{"ec2:DescribeImages", "*", "2.2.12"}, {"ec2:CreateTags", s.Location.ImageARN(s.ImageID), "2.2.12"}}
}

func (s *SealImage) ResourceID() string { return s.ImageID }

func (s *SealImage) String() string {
	return fmt.Sprintf("give %s in %s a key for seals", s.ImageID, s.Location.Region)
}
