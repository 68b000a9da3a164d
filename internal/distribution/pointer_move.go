// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

// PointerMove says how a run moves SSM parameters and launch templates without copying anything.
type PointerMove string

// Moves of published references.
const (
	Promote  PointerMove = "promote"  // to the copies of the source image
	Rollback PointerMove = "rollback" // from the copies of the source image to the image that each named before
)

// PointerVersion is a version of an SSM parameter or of a launch template.
type PointerVersion struct {
	Number      int64
	ImageID     string // empty if it names no image
	Description string // of a parameter
}
