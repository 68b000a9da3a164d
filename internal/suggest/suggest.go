// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package suggest finds the name that a user meant.
package suggest

// Closest returns the name that differs least from a misspelled one. It returns "" if none is similar.
func Closest(misspelled string, names []string) string {
	best, least := "", len(misspelled)/3+2 // more edits than that would make another word
	for _, name := range names {
		if n := distance(misspelled, name); n < least {
			best, least = name, n
		}
	}
	return best
}

// distance returns how many characters must be inserted, deleted or replaced to turn one text into the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
