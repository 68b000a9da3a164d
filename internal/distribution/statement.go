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
	Policy    string // "identity policy of role golden-image-target in account 999999999999"
	Statement Statement
}

// Statement is a statement of a policy, with its members in the usual order.
type Statement struct {
	Sid       string
	Effect    string
	Principal Principals `json:",omitempty"` // in key policies and trust policies only
	Action    []string
	Resource  []string  `json:",omitempty"` // not in trust policies
	Condition Condition `json:",omitempty"`
}

// Principals are ARNs, or "*" alone.
type Principals []string

// Condition holds values by operator and key.
type Condition map[string]map[string][]string

// ForAWS returns the condition that only AWS services can create grants (3.2.3).
func ForAWS() Condition { return Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}} }

// And returns both conditions as one. They must not have an operator in common.
func (c Condition) And(other Condition) Condition {
	if c == nil {
		return other
	}
	both := maps.Clone(c)
	maps.Copy(both, other)
	return both
}

// Everyone is every principal. Its statement must have a condition.
var Everyone = Principals{"*"}

// MarshalJSON returns the Principal element of a policy.
func (p Principals) MarshalJSON() ([]byte, error) {
	if slices.Equal(p, Everyone) {
		return json.Marshal(p[0])
	}
	return json.Marshal(map[string][]string{"AWS": p})
}

// String returns the statement as JSON in one line.
func (s Statement) String() string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		panic(err) // strings only
	}
	return strings.TrimSpace(out.String())
}
