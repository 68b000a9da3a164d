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
		case "target-key.json", "target-role-trust.json": // the same for any number of accounts
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
	size := len(strings.Join(strings.Fields(string(policy.Text())), ""))
	next := "split its statements and their lists of accounts into several managed policies"
	if size <= maxInline {
		next = "make it an inline policy of the role, or several managed policies"
	}
	if size <= maxManaged {
		return nil
	}
	return []string{fmt.Sprintf("%s has %d characters without white space; a managed policy may have %d, all inline "+
		"policies of a role together %d: %s. -options keeps only the permissions of the options that you use",
		file, size, maxManaged, maxInline, next)}
}
