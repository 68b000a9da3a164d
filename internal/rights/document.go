// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package rights

import (
	"bytes"
	"encoding/json"
)

// Document is a policy, with its members in the order in which people write them.
type Document struct {
	Version   string // 2012-10-17
	Statement []Statement
}

// Statement of a policy.
type Statement struct {
	Sid       string
	Effect    string
	Principal map[string][]string `json:",omitempty"` // policies of keys and of trust only: "AWS" -> ARNs
	Action    []string
	Resource  []string  `json:",omitempty"` // all but policies of trust
	Condition Condition `json:",omitempty"`
}

// Condition is operator -> key -> values.
type Condition map[string]map[string][]string

// Text is a document as JSON.
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

func document(statements ...Statement) Document { return Document{"2012-10-17", statements} }
