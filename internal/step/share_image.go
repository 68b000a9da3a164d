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
	Remember map[string]string // tags for the image before anything else: which accounts might launch it already, or that it stays; nil: none
	Lasting  bool              // asked for by share blocks: it is the result, and stays
}

// Permissions returns the actions that the step uses.
func (s *ShareImage) Permissions() []Permission {
	rights := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
	if s.Remember != nil {
		rights = append(rights, Permission{"ec2:CreateTags", s.Location.ImageARN(s.Image.Known), "2.2.4"})
	}
	return rights
}

func (s *ShareImage) ResourceID() string { return s.Image.Known }

func (s *ShareImage) String() string {
	return fmt.Sprintf("let %s launch %s in %s", s.With, s.Image.image(), s.Location.Region)
}

// UnshareImage takes the launch permission of accounts away again, once no copy needs it.
type UnshareImage struct {
	Base
	Image    Ref
	Accounts []string // sorted; never one that had the permission before; none where only Forget is left to do
	Forget   bool     // take away the tags of ShareImage.Remember afterwards
}

// Spares reports that accounts which the image's tags remember by then keep the permission: a run may have given it to them for good meanwhile.
func (s *UnshareImage) Spares() bool { return s.Image.Known != "" }

// Permissions returns the actions that the step uses.
func (s *UnshareImage) Permissions() []Permission {
	rights := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
	if s.Spares() {
		rights = append(rights, Permission{"ec2:DescribeImages", "*", "2.2.4"})
	}
	if s.Forget {
		rights = append(rights, Permission{"ec2:DeleteTags", s.Location.ImageARN(s.Image.Known), "2.2.4"})
	}
	return rights
}

func (s *UnshareImage) ResourceID() string { return s.Image.Known }

func (s *UnshareImage) String() string {
	if len(s.Accounts) == 0 {
		return fmt.Sprintf("forget who might launch %s in %s before", s.Image.image(), s.Location.Region)
	}
	return fmt.Sprintf("withdraw %s in %s from %s", s.Image.image(), s.Location.Region, strings.Join(s.Accounts, ", "))
}
