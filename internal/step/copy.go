// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// Copying is a step that copies data to its place: all that takes long in a run.
type Copying interface {
	Step
	Copies() CopyInfo
}

// Copied is what a copy moves.
type CopyInfo struct {
	Source     Ref
	FromRegion string
	Device     string // "" for a whole image
	GiB        int64
	Minutes    int // it may take; 0: as long as it takes
}

// within says for people how long a copy may take.
func within(minutes int) string {
	if minutes == 0 {
		return ""
	}
	return fmt.Sprintf(" within %d minutes", minutes)
}
