// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Quotas of policies: in IAM characters without white space, in KMS bytes (3.2.8).
const (
	maxManaged   = 6144  // one managed policy
	maxInline    = 10240 // all inline policies of a role together
	maxKeyPolicy = 32768
)

// TooLarge returns a message for each policy that exceeds a quota of AWS, with what to do.
func (s Setup) TooLarge(all map[string]Document) (messages []string) {
	for _, file := range slices.Sorted(maps.Keys(all)) {
		switch file {
		case "share-key.json": // reported with source-key.json, which it is added to
		case "target-key.json", "target-role-trust.json": // the size does not depend on the number of accounts
		case "source-key.json":
			messages = append(messages, s.keyTooLarge(all[file], all["share-key.json"])...)
		default:
			messages = append(messages, roleTooLarge(file, all[file])...)
		}
	}
	return messages
}

func (s Setup) keyTooLarge(own, share Document) []string {
	what, size := "source-key.json", len(own.Text())
	if len(share.Statement) > 0 {
		what, size = what+" with share-key.json", size+len(share.Text())
	}
	if size <= maxKeyPolicy {
		return nil
	}
	next := "name fewer accounts for one key"
	if s.Organization == "" {
		next = "allow the target accounts by their organization with -organization, or " + next
	}
	return []string{fmt.Sprintf("%s has %d bytes, more than the %d of a key policy: %s", what, size, maxKeyPolicy, next)}
}

func roleTooLarge(file string, policy Document) []string {
	size := policy.characters()
	if size <= maxManaged {
		return nil
	}

	next := fmt.Sprintf("name fewer accounts, or allow them by their organization with -organization, because a "+
		"statement has more than the %d characters of a managed policy", maxManaged)
	if parts := policy.Split(); len(parts) > 0 {
		next = fmt.Sprintf("split it into %d managed policies with -split", len(parts))
	}
	if size <= maxInline {
		next = "make it an inline policy of the role, or " + next
	}
	return []string{fmt.Sprintf("%s has %d characters without white space; a managed policy may have %d, all inline "+
		"policies of a role together %d: %s. -options keeps only the permissions of the options that you use",
		file, size, maxManaged, maxInline, next)}
}

// characters returns the size of an identity policy as IAM counts it.
func (d Document) characters() int {
	return len(strings.Join(strings.Fields(string(d.Text())), ""))
}

// Split returns the statements of a policy as managed policies that IAM accepts. Nil if a statement is too large for
// one. It does not split a list of accounts over several statements, because none of them would allow a call that
// shares with accounts of two lists.
func (d Document) Split() (parts []Document) {
	for _, statement := range d.Statement {
		if document(statement).characters() > maxManaged {
			return nil
		}
		if last := len(parts) - 1; last >= 0 {
			larger := document(append(slices.Clone(parts[last].Statement), statement)...)
			if larger.characters() <= maxManaged {
				parts[last] = larger
				continue
			}
		}
		parts = append(parts, document(statement))
	}
	return parts
}
