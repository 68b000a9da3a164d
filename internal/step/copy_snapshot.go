// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CopySnapshot copies a snapshot, encrypted (rules 1.3.8 and 4.1.1). It ends when the copy is completed.
// DeleteSnapshot reverts it.
type CopySnapshot struct {
	Base
	Source      Ref
	FromRegion  string
	FromKeyARN  string // key of the source. Empty if it is not encrypted or a step creates it
	Device      string // for messages
	KeyARN      string // in the Region of the copy
	GiB         int64
	Minutes     int               // paid completion duration. Zero for a copy without one (rule 4.8)
	Description string            // without the token of the call
	Tags        map[string]string // set by the creating call
	Signing     Signing
	Trial       bool // a test copy, which is verified and deleted
}

// Permissions include the copy and its source (rule 6.5). The KMS permissions are the documented set (rules 3.1.2
// to 3.1.4 and 3.1.10).
func (s *CopySnapshot) Permissions() []Permission {
	permissions := []Permission{
		{"ec2:CopySnapshot", s.Location.SnapshotARN("*"), "6.5"},
		{"ec2:CopySnapshot", distribution.Location{Region: s.FromRegion}.SnapshotARN(s.Source.Known), "6.5"},
		{"ec2:CreateTags", s.Location.SnapshotARN("*"), "6.5"},
		{"ec2:DescribeSnapshots", "*", "4.2.2"},
		{"kms:DescribeKey", s.KeyARN, "3.1.4"},
		{"kms:CreateGrant", s.KeyARN, "3.1.4"},
		{"kms:GenerateDataKeyWithoutPlaintext", s.KeyARN, "3.1.4"},
	}

	if s.FromKeyARN != "" {
		for _, action := range []string{"kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt", "kms:ReEncryptFrom"} {
			permissions = append(permissions, Permission{action, s.FromKeyARN, "3.1.3"})
		}
	}

	return permissions
}

func (s *CopySnapshot) ResourceID() string { return s.Source.Known }

func (s *CopySnapshot) String() string {
	if s.ResumeID != "" {
		return fmt.Sprintf(
			"wait for %s (%s, %d GiB), begun by an earlier run, in %s",
			s.ResumeID,
			s.Device,
			s.GiB,
			s.Location,
		)
	}

	from := ""
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}

	if s.Trial {
		return fmt.Sprintf("create a test copy in %s with %s", s.Location, s.KeyARN)
	}

	if s.Destination == (distribution.Location{}) {
		return fmt.Sprintf("stage %s, %d GiB%s in %s", s.Source.of(s.Device), s.GiB, from, s.Location)
	}

	return fmt.Sprintf("copy %s, %d GiB%s to %s%s", s.Source.of(s.Device), s.GiB, from, s.Location, within(s.Minutes))
}

func (s *CopySnapshot) Copies() CopyInfo {
	return CopyInfo{Source: s.Source, FromRegion: s.FromRegion, Device: s.Device, GiB: s.GiB, Minutes: s.Minutes}
}
