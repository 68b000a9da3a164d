// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// ShareImage lets others launch an image (rules 2.2.1, 2.2.4), and copy it, where its snapshots are shared as well (2.2.8). Undone by
// UnshareImage.
type ShareImage struct {
	Base
	Image    Ref
	With     distribution.LaunchPermissions
	Baseline bool // it is the source image: tags remember first who may launch it
	Lasting  bool // asked for by share blocks: it is the result, and stays

	// PermanentOn is the source image whose tags remember first that the accounts keep the permission. Empty for a temporary one.
	PermanentOn string
}

// Permissions returns the actions that the step uses.
func (s *ShareImage) Permissions() []Permission {
	rights := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
	if s.PermanentOn != "" {
		rights = append(rights, Permission{"ec2:CreateTags", s.Location.ImageARN(s.PermanentOn), "2.2.4"})
	}
	if s.Baseline {
		rights = append(rights, Permission{"ec2:CreateTags", s.Location.ImageARN(s.Image.Known), "2.2.4"})
	}
	return rights
}

func (s *ShareImage) ResourceID() string { return s.Image.Known }

func (s *ShareImage) String() string {
	return fmt.Sprintf("let %s launch %s in %s", s.With, s.Image.image(), s.Location.Region)
}

// UnshareImage withdraws the launch permission of accounts on a staged image, once no copy needs it.
type UnshareImage struct {
	Base
	Image    Ref
	Accounts []string // sorted
}

// Permissions returns the actions that the step uses.
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
