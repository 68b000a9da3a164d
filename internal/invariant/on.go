// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !switches

package invariant

// IsOff returns false: all invariants hold.
func (Invariant) IsOff() bool { return false }
