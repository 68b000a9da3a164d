// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"strings"
)

// ShareSnapshot lets accounts create volumes from a snapshot (rules 2.1.5, 2.1.6). Undone by WithdrawShare.
type ShareSnapshot struct {
	Base
	Snapshot Ref
	Device   string            // for messages
	Accounts []string          // sorted, at most 500
	Remember map[string]string // tags for the snapshot before anything else: who might use it already; nil: none
}

// Permissions returns the actions that the step uses.
func (s *ShareSnapshot) Permissions() []Permission {
	rights := []Permission{{"ec2:ModifySnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"}}
	if s.Remember != nil {
		rights = append(rights, Permission{"ec2:CreateTags", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"})
	}
	return rights
}

func (s *ShareSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *ShareSnapshot) String() string {
	return fmt.Sprintf("share %s in %s with %s", s.Snapshot.of(s.Device), s.Location.Region, strings.Join(s.Accounts, ", "))
}

// UnshareSnapshot takes the permission of accounts away again, once no copy needs it.
type UnshareSnapshot struct {
	Base
	Snapshot Ref
	Device   string   // for messages
	Accounts []string // sorted; never one that had the permission before; none where only Forget is left to do
	Forget   bool     // take away the tags of ShareSnapshot.Remember afterwards
}

// Spares reports that accounts which the snapshot's tags remember by then keep the permission: a run may have given it to them for good meanwhile.
func (s *UnshareSnapshot) Spares() bool { return s.Snapshot.Known != "" }

// Permissions returns the actions that the step uses.
func (s *UnshareSnapshot) Permissions() []Permission {
	rights := []Permission{
		{"ec2:ModifySnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"},
		{"ec2:DescribeSnapshotAttribute", s.Location.SnapshotARN(s.Snapshot.Known), "4.4.2"},
	}
	if s.Spares() {
		rights = append(rights, Permission{"ec2:DescribeSnapshots", "*", "2.1.4"})
	}
	if s.Forget {
		rights = append(rights, Permission{"ec2:DeleteTags", s.Location.SnapshotARN(s.Snapshot.Known), "2.1.4"})
	}
	return rights
}

func (s *UnshareSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *UnshareSnapshot) String() string {
	if len(s.Accounts) == 0 {
		return fmt.Sprintf("forget who might use %s in %s before", s.Snapshot.of(s.Device), s.Location.Region)
	}
	return fmt.Sprintf("withdraw %s in %s from %s", s.Snapshot.of(s.Device), s.Location.Region, strings.Join(s.Accounts, ", "))
}
