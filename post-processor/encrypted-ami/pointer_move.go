// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"errors"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// errPointerMoveOfBuild refuses promote and rollback for the AMI of a build, because no target has a copy of it yet.
var errPointerMoveOfBuild = errors.New("mode: promote and rollback have no effect on the AMI of a build, which no " +
	"target owns yet; name the AMI in existing_amis")

// movesPointers reports whether the run only changes parameters and launch templates.
func (r *run) movesPointers() bool {
	return r.mode() == report.Promote || r.mode() == report.Rollback
}

// refusedOutcome returns the outcome of a refused plan as text.
func (r *run) refusedOutcome() string {
	if r.movesPointers() {
		return "nothing was changed"
	}
	return "nothing was created"
}
