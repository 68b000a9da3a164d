// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CopySnapshot makes an encrypted copy in At (rules 1.3.8, 4.1.1). It ends when the copy is completed. Undone by deleting it.
type CopySnapshot struct {
	Base
	Source      Ref
	FromRegion  string
	FromKeyARN  string // what the source is encrypted with; "" when it is not, or a step makes it
	Device      string // for messages
	KeyARN      string // a key in At's Region
	GiB         int64
	Minutes     int               // it may take, for a price; 0: as long as it takes (4.8)
	Description string            // without the evidence of the call
	Tags        map[string]string // all of the creating call
	Signing     Signing
	Trial       bool // of the canary: it is verified and removed
}

// Permissions returns the actions that the step uses. EC2 asks for the copy and for its source (6.5); of KMS the documented set (3.1.2 to 3.1.4, 3.1.10).
func (s *CopySnapshot) Permissions() []Permission {
	rights := []Permission{
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
			rights = append(rights, Permission{action, s.FromKeyARN, "3.1.3"})
		}
	}
	return rights
}

func (s *CopySnapshot) ResourceID() string { return s.Source.Known }

func (s *CopySnapshot) String() string {
	if s.ResumeID != "" {
		return fmt.Sprintf("wait for %s (%s, %d GiB), begun by an earlier run, in %s", s.ResumeID, s.Device, s.GiB, s.Location)
	}
	from := ""
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}
	if s.Trial {
		return fmt.Sprintf("try a copy of the canary to %s under %s", s.Location, s.KeyARN)
	}
	if s.Destination == (distribution.Location{}) {
		return fmt.Sprintf("stage %s, %d GiB%s in %s", s.Source.of(s.Device), s.GiB, from, s.Location)
	}
	return fmt.Sprintf("copy %s, %d GiB%s to %s%s", s.Source.of(s.Device), s.GiB, from, s.Location, within(s.Minutes))
}

// Copies says what the step moves.
func (s *CopySnapshot) Copies() CopyInfo {
	return CopyInfo{Source: s.Source, FromRegion: s.FromRegion, Device: s.Device, GiB: s.GiB, Minutes: s.Minutes}
}
