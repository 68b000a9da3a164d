// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

// Copying is a step that copies data to its place: all that takes long in a run.
type Copying interface {
	Step
	Copies() Copied
}

// Copied is what a copy moves.
type Copied struct {
	Source     Ref
	FromRegion string
	Device     string // "" for a whole image
	GiB        int64
	Minutes    int // it may take; 0: as long as it takes
}
