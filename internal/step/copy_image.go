// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CopyImage copies an image with its snapshots, encrypted under one key (rules 1.4.6 and 2.4). It ends when the
// copy is available. DeregisterImage reverts it.
type CopyImage struct {
	Base
	ImageSpec
	Image        Ref // source image
	FromRegion   string
	FromKeyARNs  []string // keys of the source snapshots, sorted, without snapshots that steps create
	KeyARN       string   // in the Region of the copy
	Devices      []string // with snapshots, sorted
	GiB          int64
	Minutes      int               // paid completion duration. Zero for a copy without one (rule 4.8)
	SnapshotTags map[string]string // set by the creating call
}

// Permissions include the source image and the snapshots of both images (rule 2.4.3). The KMS permissions are the
// documented set (rules 3.1.2 to 3.1.4 and 3.1.10).
func (s *CopyImage) Permissions() []Permission {
	from := distribution.Location{Region: s.FromRegion}
	permissions := []Permission{
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
			permissions = append(permissions, Permission{action, key, "3.1.3"})
		}
	}

	return permissions
}

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

	return fmt.Sprintf(
		"copy %s, %d GiB in %s%s to %s%s",
		s.Image.image(),
		s.GiB,
		volumes,
		from,
		s.Location,
		within(s.Minutes),
	)
}
