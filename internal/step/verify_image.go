// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// VerifyImage compares a destination's image with its source, attribute by attribute, and its snapshots with what was wanted.
// Valid only after completion (4.6.1).
type VerifyImage struct {
	Base
	ImageSpec
	Target    string // name of the target block
	Image     Ref
	Snapshots map[string]ExpectedSnapshot // device name -> what its snapshot has to be
}

// Wanted is what a target's snapshot has to be: owned by the account, encrypted with this key, of this size.
type ExpectedSnapshot struct {
	Snapshot Ref
	KeyARN   string
	GiB      int64
}

// Permissions returns the actions that the step uses.
func (s *VerifyImage) Permissions() []Permission {
	rights := []Permission{{"ec2:DescribeImages", "*", "4.2.2"}, {"ec2:DescribeSnapshots", "*", "4.2.2"}}
	if s.UEFIData != "" {
		rights = append(rights, Permission{"ec2:DescribeImageAttribute", s.Location.ImageARN("*"), "2.2.11"})
	}
	return rights
}

func (s *VerifyImage) ResourceID() string { return s.Image.Known }

func (s *VerifyImage) String() string {
	return fmt.Sprintf("verify %q in %s: attributes, owners, sizes, keys", s.Name, s.Location)
}
