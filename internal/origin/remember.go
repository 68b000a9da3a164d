// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package origin

import (
	"fmt"
	"slices"
	"strings"
)

// accountsPerTag is how many account ids, with commas, fit into the 256 characters of a tag's value.
const accountsPerTag = 19

// nobody is the value where there is no account to remember: a tag that is not there says that nothing is remembered.
const nobody = "nobody"

// Remember is who might use a snapshot before we shared it, as tags.
func Remember(accounts []string) map[string]string {
	tags := map[string]string{Before: nobody}
	for i, chunk := range slices.Collect(slices.Chunk(accounts, accountsPerTag)) {
		tags[beforeKey(i)] = strings.Join(chunk, ",")
	}
	return tags
}

// Remembered reads the tags of Remember back; false when there are none.
func Remembered(tags map[string]string) (accounts []string, known bool) {
	for i := 0; ; i++ {
		value, there := tags[beforeKey(i)]
		if !there {
			return accounts, i > 0
		}
		if value != nobody {
			accounts = append(accounts, strings.Split(value, ",")...)
		}
	}
}

// RememberKeys are the keys among tags that Remember made.
func RememberKeys(tags map[string]string) []string {
	var keys []string
	for i := 0; ; i++ {
		if _, there := tags[beforeKey(i)]; !there {
			return keys
		}
		keys = append(keys, beforeKey(i))
	}
}

func beforeKey(i int) string {
	if i == 0 {
		return Before
	}
	return fmt.Sprintf("%s-%d", Before, i+1)
}
