// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import "fmt"

// Copying is a step that copies data to its location. Other steps are short.
type Copying interface {
	Step
	Copies() CopyInfo
}

// CopyInfo describes a copy.
type CopyInfo struct {
	Source     Ref
	FromRegion string
	Device     string // empty for an image
	GiB        int64
	Minutes    int // completion duration; 0 without time-based copy
}

// within returns the completion duration for the user. Empty without time-based copy.
func within(minutes int) string {
	if minutes == 0 {
		return ""
	}
	return fmt.Sprintf(" within %d minutes", minutes)
}
