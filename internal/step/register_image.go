// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// RegisterImage registers an image from the destination's own snapshots (rules 1.5 and 2.5). DeregisterImage
// reverts it.
type RegisterImage struct {
	Base
	ImageSpec
	Snapshots map[string]Ref // by device
}

func (s *RegisterImage) Permissions() []Permission {
	return []Permission{
		{"ec2:RegisterImage", s.Location.ImageARN("*"), "2.5.5"},
		{"ec2:RegisterImage", s.Location.SnapshotARN("*"), "2.5.5"},
		{"ec2:CreateTags", s.Location.ImageARN("*"), "2.5.5"},
		{"ec2:DescribeImages", "*", "4.4.1"},
	}
}

func (s *RegisterImage) ResourceID() string { return aws.ToString(s.Source.ImageId) }

func (s *RegisterImage) String() string {
	return fmt.Sprintf(
		"register %q in %s with %s",
		s.Name,
		s.Location,
		distribution.Count(len(s.Snapshots), "volume", "volumes"),
	)
}
