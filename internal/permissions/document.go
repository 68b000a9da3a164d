// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"bytes"
	"encoding/json"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Document is a policy, with its members in the usual order.
type Document struct {
	Version   string // 2012-10-17
	Statement []distribution.Statement
}

// Text returns the document as JSON.
func (d Document) Text() []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(d); err != nil {
		panic(err) // texts only
	}
	return out.Bytes()
}

func document(statements ...distribution.Statement) Document {
	return Document{"2012-10-17", statements}
}
