// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// ShareImage adds launch permissions to an image (rules 2.2.1 and 2.2.4). They also allow a copy if the snapshots
// are shared (rule 2.2.8). UnshareImage reverts it.
type ShareImage struct {
	Base
	Image    Ref
	With     distribution.LaunchPermissions
	Baseline bool // save the existing permissions of a source image in its tags first
	Lasting  bool // requested by share blocks, so it stays

	// PermanentOn is the source image whose tags name the accounts that keep the permission. Empty for a temporary
	// permission.
	PermanentOn string
}

func (s *ShareImage) Permissions() []Permission {
	permissions := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
	if s.PermanentOn != "" {
		permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.ImageARN(s.PermanentOn), "2.2.4"})
	}
	if s.Baseline {
		permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.ImageARN(s.Image.Known), "2.2.4"})
	}
	return permissions
}

func (s *ShareImage) ResourceID() string { return s.Image.Known }

func (s *ShareImage) String() string {
	return fmt.Sprintf("let %s launch %s in %s", s.With, s.Image.image(), s.Location.Region)
}

// UnshareImage removes launch permissions of a staged image that no copy needs.
type UnshareImage struct {
	Base
	Image    Ref
	Accounts []string // sorted
}

func (s *UnshareImage) Permissions() []Permission {
	return []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
}

func (s *UnshareImage) ResourceID() string { return s.Image.Known }

func (s *UnshareImage) String() string {
	return fmt.Sprintf("withdraw %s in %s from %s", s.Image.image(), s.Location.Region, strings.Join(s.Accounts, ", "))
}
