// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// DeleteSnapshot deletes a temporary snapshot that no copy needs.
type DeleteSnapshot struct {
	Base
	Snapshot Ref
	Device   string // for messages. Empty if the ID is enough
}

func (s *DeleteSnapshot) Permissions() []Permission {
	return []Permission{{"ec2:DeleteSnapshot", s.Location.SnapshotARN(s.Snapshot.Known), "2.5.8"}}
}

func (s *DeleteSnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *DeleteSnapshot) String() string {
	return fmt.Sprintf("delete %s in %s", s.Snapshot.of(s.Device), s.Location)
}
