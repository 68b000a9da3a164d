// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"strings"
)

// ShareSnapshot lets accounts create volumes from a snapshot (rules 2.1.5, 2.1.6). Undone by WithdrawShare.
type ShareSnapshot struct {
	Head
	Snapshot Ref
	Accounts []string // sorted, at most 500
}

// Rights of the step.
func (s *ShareSnapshot) Rights() []Right {
	return []Right{{"ec2:ModifySnapshotAttribute", s.At.snapshot(s.Snapshot.Known), "2.1.4"}}
}

func (s *ShareSnapshot) String() string {
	return fmt.Sprintf("share %s in %s with %s", s.Snapshot, s.At.Region, strings.Join(s.Accounts, ", "))
}

// WithdrawShare takes the permission of accounts away again, once no copy needs it.
type WithdrawShare struct {
	Head
	Snapshot Ref
	Accounts []string // sorted; never one that had the permission before
}

// Rights of the step.
func (s *WithdrawShare) Rights() []Right {
	return []Right{{"ec2:ModifySnapshotAttribute", s.At.snapshot(s.Snapshot.Known), "2.1.4"}}
}

func (s *WithdrawShare) String() string {
	return fmt.Sprintf("withdraw %s in %s from %s", s.Snapshot, s.At.Region, strings.Join(s.Accounts, ", "))
}
