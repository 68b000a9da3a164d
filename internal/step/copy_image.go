// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CopyImage makes an encrypted copy of an image, snapshots and all, in At under one key (rules 1.4.6, 2.4). It ends when the copy is
// available. Undone by deregistering it with its snapshots.
type CopyImage struct {
	Base
	ImageSpec
	Image        Ref // what is copied
	FromRegion   string
	FromKeyARNs  []string // what its snapshots are encrypted with, sorted; none that steps make
	KeyARN       string   // a key in At's Region
	Devices      []string // those that start from snapshots, sorted
	GiB          int64
	Minutes      int               // it may take, for a price; 0: as long as it takes (4.8)
	SnapshotTags map[string]string // all of the creating call
}

// Permissions returns the actions that the step uses. EC2 asks for the image, for its source and for the snapshots of both (2.4.3); of KMS the documented set
// (3.1.2 to 3.1.4, 3.1.10).
func (s *CopyImage) Permissions() []Permission {
	from := distribution.Location{Region: s.FromRegion}
	rights := []Permission{
		{"ec2:CopyImage", s.Location.ImageARN("*"), "2.4.3"},
		{"ec2:CopyImage", s.Location.SnapshotARN("*"), "2.4.3"},
		{"ec2:CopyImage", from.ImageARN(s.Image.Known), "2.4.3"},
		{"ec2:CopyImage", from.SnapshotARN("*"), "2.4.3"},
		{"ec2:CreateTags", s.Location.ImageARN("*"), "2.4.3"},
		{"ec2:CreateTags", s.Location.SnapshotARN("*"), "2.4.3"},
		{"ec2:DescribeImages", "*", "4.2.2"},
		{"ec2:DescribeSnapshots", "*", "4.6.3"},
		{"kms:DescribeKey", s.KeyARN, "3.1.4"},
		{"kms:CreateGrant", s.KeyARN, "3.1.4"},
		{"kms:GenerateDataKeyWithoutPlaintext", s.KeyARN, "3.1.4"},
	}
	for _, key := range s.FromKeyARNs {
		for _, action := range []string{"kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt", "kms:ReEncryptFrom"} {
			rights = append(rights, Permission{action, key, "3.1.3"})
		}
	}
	return rights
}

// Copies makes it a Copying.
func (s *CopyImage) Copies() CopyInfo {
	return CopyInfo{Source: s.Image, FromRegion: s.FromRegion, GiB: s.GiB, Minutes: s.Minutes}
}

func (s *CopyImage) ResourceID() string { return s.Image.Known }

func (s *CopyImage) String() string {
	if s.ResumeID != "" {
		return fmt.Sprintf("wait for %s (%d GiB), begun by an earlier run, in %s", s.ResumeID, s.GiB, s.Location)
	}
	from, volumes := "", distribution.Count(len(s.Devices), "volume", "volumes")
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}
	if s.Destination == (distribution.Location{}) {
		return fmt.Sprintf("stage %s, %d GiB in %s%s in %s", s.Image.image(), s.GiB, volumes, from, s.Location)
	}
	return fmt.Sprintf("copy %s, %d GiB in %s%s to %s%s", s.Image.image(), s.GiB, volumes, from, s.Location, within(s.Minutes))
}
