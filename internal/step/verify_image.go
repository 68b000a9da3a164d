// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// VerifyImage compares a destination's image with its source, and its snapshots with the expected ones. It is valid
// only after completion (rule 4.6.1).
type VerifyImage struct {
	Base
	ImageSpec
	Target    string // name of the target block
	Image     Ref
	Snapshots map[string]ExpectedSnapshot // by device
}

// ExpectedSnapshot describes the snapshot that a device must have.
type ExpectedSnapshot struct {
	Snapshot Ref
	KeyARN   string
	GiB      int64
}

func (s *VerifyImage) Permissions() []Permission {
	permissions := []Permission{{"ec2:DescribeImages", "*", "4.2.2"}, {"ec2:DescribeSnapshots", "*", "4.2.2"}}
	if s.UEFIData != "" {
		permissions = append(permissions, Permission{"ec2:DescribeImageAttribute", s.Location.ImageARN("*"), "2.2.11"})
	}
	return permissions
}

func (s *VerifyImage) ResourceID() string { return s.Image.Known }

func (s *VerifyImage) String() string {
	return fmt.Sprintf("verify %q in %s: attributes, owners, sizes, keys", s.Name, s.Location)
}
