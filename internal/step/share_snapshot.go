// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"strings"
)

// ShareSnapshot adds create volume permissions to a snapshot (rules 2.1.5 and 2.1.6). UnshareSnapshot reverts it.
type ShareSnapshot struct {
	Base
	Snapshot Ref
	Device   string   // for messages
	Accounts []string // sorted, at most 500
	Baseline bool     // save the existing permissions of a source snapshot in its tags first

	// PermanentOn is the source image whose tags name the accounts that keep the permission. Empty for a temporary
	// permission.
	PermanentOn string
}

func (s *ShareSnapshot) Permissions() []Permission {
	permissions := []Permission{{"ec2:ModifySnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"}}
	if s.Baseline {
		permissions = append(permissions,
			Permission{"ec2:CreateTags", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"},
			Permission{"ec2:DescribeSnapshots", "*", "2.1.4"},
			Permission{"ec2:DescribeSnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"})
	}
	if s.PermanentOn != "" {
		permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.ImageARN(s.PermanentOn), "2.1.4"})
	}
	return permissions
}

func (s *ShareSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *ShareSnapshot) String() string {
	return fmt.Sprintf(
		"share %s in %s with %s",
		s.Snapshot.of(s.Device),
		s.Location.Region,
		strings.Join(s.Accounts, ", "),
	)
}

// UnshareSnapshot removes create volume permissions of a staged snapshot that no copy needs.
type UnshareSnapshot struct {
	Base
	Snapshot Ref
	Device   string   // for messages
	Accounts []string // sorted
}

func (s *UnshareSnapshot) Permissions() []Permission {
	return []Permission{
		{"ec2:ModifySnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"},
		{"ec2:DescribeSnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "4.4.2"},
	}
}

func (s *UnshareSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *UnshareSnapshot) String() string {
	return fmt.Sprintf(
		"withdraw %s in %s from %s",
		s.Snapshot.of(s.Device),
		s.Location.Region,
		strings.Join(s.Accounts, ", "),
	)
}
