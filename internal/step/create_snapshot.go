// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
)

// CreateSnapshot makes a snapshot of a volume, under the volume's key, and ends when it is completed (rule 1.2.1). One that cannot be made is
// told, and is no failure: it makes nothing. Undone by deleting it.
type CreateSnapshot struct {
	Base
	Volume      Ref
	KeyARN      string // of the volume
	GiB         int64
	Description string
	Tags        map[string]string
	Mark        origin.Mark // what the tags say
	SealKey     origin.Key  // for the second seal; nil: none
}

// Permissions returns the actions that the step uses. A snapshot takes none on the key.
func (s *CreateSnapshot) Permissions() []Permission {
	return []Permission{
		{"ec2:CreateSnapshot", s.Location.SnapshotARN(""), "1.2.1"},
		{"ec2:CreateSnapshot", s.Location.OwnedARN("volume", s.Volume.Known), "1.2.1"},
		{"ec2:CreateTags", s.Location.SnapshotARN(""), "9.4"},
		{"ec2:DescribeSnapshots", "*", "4.2.2"},
	}
}

func (s *CreateSnapshot) ResourceID() string { return s.Volume.Known }

func (s *CreateSnapshot) String() string {
	return fmt.Sprintf("make the canary in %s: an empty snapshot of %d GiB", s.Location, s.GiB)
}
