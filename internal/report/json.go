// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"encoding/json"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// JSON is a result for machines: an object with the fields of plan.Result, an end of line after it.
func JSON(r distribution.Result) ([]byte, error) {
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}
