// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "strings"

// resolveImageID returns the image ID of a launch or launch template. "resolve:ssm:<name>" stands for the value of a
// parameter (rule 7.11).
func (w *World) resolveImageID(c *Call, id string) (string, error) {
	name, indirect := strings.CutPrefix(id, "resolve:ssm:")
	if !indirect {
		return id, nil
	}
	return w.imageParameter(c, name)
}
