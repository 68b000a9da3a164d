// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "strings"

// resolveImageID is the id of the image that a launch or a launch template names: itself, or the parameter behind
// "resolve:ssm:<name>" (7.11).
func (w *World) resolveImageID(c *Call, id string) (string, error) {
	name, indirect := strings.CutPrefix(id, "resolve:ssm:")
	if !indirect {
		return id, nil
	}
	return w.imageParameter(c, name)
}
