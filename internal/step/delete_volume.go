// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// DeleteVolume removes a volume that was made for a snapshot of it.
type DeleteVolume struct {
	Base
	Volume Ref
}

// Permissions returns the actions that the step uses.
func (s *DeleteVolume) Permissions() []Permission {
	return []Permission{{"ec2:DeleteVolume", s.Location.OwnedARN("volume", s.Volume.Known), "2.5.8"}}
}

func (s *DeleteVolume) ResourceID() string { return s.Volume.Known }

func (s *DeleteVolume) String() string {
	if s.Volume.Known != "" {
		return fmt.Sprintf("delete %s, which an earlier run left, in %s", s.Volume.Known, s.Location)
	}
	return fmt.Sprintf("delete the empty volume in %s", s.Location)
}
