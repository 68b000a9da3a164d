// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Addition is a statement that a policy lacks.
type Addition struct {
	Policy    string // whose: "identity policy of role golden-image-target in account 999999999999"
	Statement Statement
}

// Statement of a policy, with its members in the order in which people write them.
type Statement struct {
	Sid       string
	Effect    string
	Principal Principals `json:",omitempty"` // policies of keys and of trust only
	Action    []string
	Resource  []string  `json:",omitempty"` // all but policies of trust
	Condition Condition `json:",omitempty"`
}

// Principals are ARNs, or "*" alone.
type Principals []string

// Condition is operator -> key -> values.
type Condition map[string]map[string][]string

// ForAWS lets AWS's services alone make grants (3.2.3).
func ForAWS() Condition { return Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}} }

// And is both conditions as one; they have no operator in common.
func (c Condition) And(other Condition) Condition {
	if c == nil {
		return other
	}
	all := maps.Clone(c)
	maps.Copy(all, other)
	return all
}

// everybody is every principal: a condition has to say who is meant.
var Everyone = Principals{"*"}

// MarshalJSON is the element as policies take it.
func (p Principals) MarshalJSON() ([]byte, error) {
	if slices.Equal(p, Everyone) {
		return json.Marshal(p[0])
	}
	return json.Marshal(map[string][]string{"AWS": p})
}

// String is the statement as JSON, in a line.
func (s Statement) String() string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		panic(err) // texts only
	}
	return strings.TrimSpace(out.String())
}
