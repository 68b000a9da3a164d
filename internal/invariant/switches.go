// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build switches

package invariant

// Off is the invariant that is switched off. Zero if all hold.
var Off Invariant

// IsOff reports whether an invariant is switched off.
func (i Invariant) IsOff() bool { return i == Off }
