// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package rights

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// shared are the policies of the accounts that share blocks name, by the name of their file: what a run tells them to add.
func (s Setup) shared() map[string]Document {
	key, launches, grants := document(), document(), document()
	requests, facts := everyOption(s)
	for _, f := range plan.Decide(requests[0], facts).Findings {
		if f.Rule != "3.1.6" {
			continue
		}
		where := strings.Split(f.Where, "\n")
		for i, text := range strings.Split(f.Statement, "\n") {
			switch {
			case strings.HasPrefix(where[i], "policy of "):
				key.Statement = merged(key.Statement, told(text))
			case strings.HasPrefix(where[i], "identity policy of who launches"):
				launches.Statement = merged(launches.Statement, told(text))
			default: // one policy for every account
				for _, user := range s.Users {
					text = strings.ReplaceAll(text, "::"+user+":", "::${aws:PrincipalAccount}:")
				}
				grants.Statement = merged(grants.Statement, told(text))
			}
		}
	}
	return map[string]Document{"share-key.json": key, "share-launch-role.json": launches, "share-role.json": grants}
}

// told is a statement as a run tells it.
func told(text string) Statement {
	var read struct {
		Statement
		Resource string
	}
	if err := json.Unmarshal([]byte(text), &read); err != nil {
		panic(err) // made by plan
	}
	read.Statement.Resource = []string{read.Resource}
	return read.Statement
}

// merged adds a statement to others: its resources to those of one that is the same otherwise.
func merged(all []Statement, more Statement) []Statement {
	for i, s := range all {
		resources := distinct(slices.Concat(s.Resource, more.Resource))
		s.Resource = more.Resource
		if reflect.DeepEqual(s, more) {
			all[i].Resource = resources
			return all
		}
	}
	return append(all, more)
}
