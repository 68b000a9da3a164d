// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// RegisterImage makes an image from At's own snapshots (rules 1.5, 2.5). Undone by deregistering it.
type RegisterImage struct {
	Base
	ImageSpec
	Snapshots map[string]Ref // device name -> snapshot
}

// Rights of the step (rule 2.5.5).
func (s *RegisterImage) Permissions() []Permission {
	return []Permission{
		{"ec2:RegisterImage", s.Location.image("*"), "2.5.5"},
		{"ec2:RegisterImage", s.Location.snapshot("*"), "2.5.5"},
		{"ec2:CreateTags", s.Location.image("*"), "2.5.5"},
		{"ec2:DescribeImages", "*", "4.4.1"},
	}
}

func (s *RegisterImage) ResourceID() string { return aws.ToString(s.Source.ImageId) }

func (s *RegisterImage) String() string {
	return fmt.Sprintf("register %q in %s with %s", s.Name, s.Location, Count(len(s.Snapshots), "volume", "volumes"))
}

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

// Rights of the step.
func (s *VerifyImage) Permissions() []Permission {
	rights := []Permission{{"ec2:DescribeImages", "*", "4.2.2"}, {"ec2:DescribeSnapshots", "*", "4.2.2"}}
	if s.UEFIData != "" {
		rights = append(rights, Permission{"ec2:DescribeImageAttribute", s.Location.image("*"), "2.2.11"})
	}
	return rights
}

func (s *VerifyImage) ResourceID() string { return s.Image.Known }

func (s *VerifyImage) String() string {
	return fmt.Sprintf("verify %q in %s: attributes, owners, sizes, keys", s.Name, s.Location)
}
