// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is a word of a text in lower case. Identifiers in camel case or with underscores are several words.
type word struct {
	text       string
	start, end int  // offsets in the text
	follows    bool // only a space, a hyphen, an underscore or nothing separates it from the word before
}

// separator matches the characters between the words of a phrase, including a line break inside a comment or a
// paragraph.
var separator = regexp.MustCompile(`^(|[-_]|[ \t]+|[ \t]*\r?\n[ \t]*(//|#|>|\*)?[ \t]*)$`)

// split returns the words of a text. Letters of escape sequences such as \n are not part of words.
func split(text string) []word {
	var words []word

	last := 0
	add := func(start, end int) {
		words = append(words, word{
			text:    strings.ToLower(text[start:end]),
			start:   start,
			end:     end,
			follows: len(words) > 0 && separator.MatchString(text[last:start]),
		})
		last = end
	}

	for at := 0; at < len(text); {
		if isEscape(text, at) {
			at += 2
			continue
		}

		end := at + letters(text[at:])
		if end == at {
			_, size := utf8.DecodeRuneInString(text[at:])
			at += size
			continue
		}

		for at < end {
			length := camelPart(text[at:end])
			add(at, at+length)
			at += length
		}
	}

	return words
}

// isEscape reports whether an escape sequence of a string literal or a regular expression is at the offset.
func isEscape(text string, at int) bool {
	return text[at] == '\\' && at+1 < len(text) && strings.IndexByte("abdfnrstvwx", text[at+1]) >= 0
}

// letters returns the number of letters at the beginning of the text.
func letters(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
	if end < 0 {
		return len(text)
	}
	return end
}

// camelPart returns the length of the first word of an identifier: copy of copyImage, AMI of AMIName, AMIs of AMIs.
func camelPart(identifier string) int {
	upper := strings.IndexFunc(identifier, func(r rune) bool { return !unicode.IsUpper(r) })

	switch {
	case upper < 0:
		return len(identifier)
	case upper > 1 && isPlural(identifier[upper:]):
		return upper + 1
	case upper > 1:
		_, size := utf8.DecodeLastRuneInString(identifier[:upper])
		return upper - size
	}

	lower := strings.IndexFunc(identifier[upper:], unicode.IsUpper)
	if lower < 0 {
		return len(identifier)
	}
	return upper + lower
}

// isPlural reports whether the text is the s of an abbreviation's plural.
func isPlural(text string) bool {
	next, _ := utf8.DecodeRuneInString(strings.TrimPrefix(text, "s"))
	return strings.HasPrefix(text, "s") && (len(text) == 1 || unicode.IsUpper(next))
}
