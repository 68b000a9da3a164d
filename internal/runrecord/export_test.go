// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

// Kill stops a run as the death of its process does: its record stays.
func (r *Run) Kill() {
	r.stop()
	<-r.stopped
}
