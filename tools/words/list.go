// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// list holds the phrases to find, by their first word.
type list map[string][]phrase

// phrase is a banned word or sequence of words, or an exempt sequence.
type phrase struct {
	words       []string
	replacement string // empty for a phrase that is exempt
}

// parseList reads lines of the form "word, other form: replacement; unless: phrase, phrase".
func parseList(text string) (list, error) {
	banned := list{}

	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}

		line, unless, _ := strings.Cut(line, "; unless: ")
		forms, replacement, ok := strings.Cut(line, ": ")
		if !ok || replacement == "" {
			return nil, fmt.Errorf("line %d: want \"word: replacement\", got %q", number+1, line)
		}

		for form := range strings.SplitSeq(forms, ", ") {
			banned.add(form, replacement)
		}

		if unless == "" {
			continue
		}
		for exempt := range strings.SplitSeq(unless, ", ") {
			banned.add(exempt, "")
		}
	}

	return banned, nil
}

// add stores a phrase under each of its words, so that an exempt phrase is found by the banned word in it.
func (l list) add(text, replacement string) {
	words := strings.Fields(text)

	if replacement != "" {
		l[words[0]] = append(l[words[0]], phrase{words: words, replacement: replacement})
		return
	}

	for _, word := range words {
		l[word] = append(l[word], phrase{words: words})
	}
}

// find returns the longest banned phrase that begins with word i. Nil if none does, or if it lies in an exempt phrase.
func (l list) find(words []word, i int) *phrase {
	var found *phrase

	for _, candidate := range l[words[i].text] {
		if candidate.replacement == "" {
			if candidate.covers(words, i) {
				return nil
			}
			continue
		}

		if (found == nil || len(candidate.words) > len(found.words)) && candidate.isAt(words, i) {
			found = &candidate
		}
	}

	return found
}

// covers reports whether the phrase occurs around word i.
func (p phrase) covers(words []word, i int) bool {
	for offset, text := range p.words {
		if text == words[i].text && i-offset >= 0 && p.isAt(words, i-offset) {
			return true
		}
	}
	return false
}

// isAt reports whether the phrase begins with word i.
func (p phrase) isAt(words []word, i int) bool {
	if i+len(p.words) > len(words) {
		return false
	}

	for offset, text := range p.words {
		if words[i+offset].text != text || offset > 0 && !words[i+offset].follows {
			return false
		}
	}
	return true
}

// exception is a text on whose lines a banned word is allowed.
type exception struct {
	file, text string
	used       bool
}

// parseExceptions reads lines of the form "file | exact text | reason".
func parseExceptions(text string) ([]*exception, error) {
	var exceptions []*exception

	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}

		fields := strings.Split(line, " | ")
		if len(fields) != 3 || slices.Contains(fields, "") {
			return nil, fmt.Errorf("line %d: want \"file | exact text | reason\", got %q", number+1, line)
		}
		exceptions = append(exceptions, &exception{file: fields[0], text: fields[1]})
	}

	return exceptions, nil
}

// isExcepted reports whether an exception for the file covers the text of a line between two columns.
// It marks the exception as used.
func isExcepted(exceptions []*exception, file, line string, from, to int) bool {
	for _, e := range exceptions {
		if e.file != "*" && e.file != file {
			continue
		}

		for start := 0; ; start++ {
			at := strings.Index(line[start:], e.text)
			if at < 0 {
				break
			}
			start += at
			if start <= from && to <= start+len(e.text) {
				e.used = true
				return true
			}
		}
	}
	return false
}

// readLists reads the words and the exceptions from their files.
func readLists(wordFile, exceptionFile string) (list, []*exception, error) {
	text, err := os.ReadFile(wordFile)
	if err != nil {
		return nil, nil, err
	}
	banned, err := parseList(string(text))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", wordFile, err)
	}

	text, err = os.ReadFile(exceptionFile)
	if err != nil {
		return nil, nil, err
	}
	exceptions, err := parseExceptions(string(text))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", exceptionFile, err)
	}

	return banned, exceptions, nil
}
