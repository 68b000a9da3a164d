// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// testWords stand for banned words, so that this file has none.
const testWords = `
# a comment
pear, pears: apple
pick up, picks up: collect
pick up now: collect soon
left: remaining; unless: left hand, the left side
`

func TestCheck_words(t *testing.T) {
	for text, want := range map[string][]string{
		"a pear and Pears.":                       {"1:3 pear", "1:12 pears"},
		"pearl, spear, appear":                    nil,
		"ripePear pear_tree APear PEARTree":       {"1:5 pear", "1:10 pear", "1:21 pear", "1:26 pear"},
		"PearID, isPEARs":                         {"1:1 pear", "1:11 pears"},
		`"one\npear", "\tpear"`:                   {"1:7 pear", "1:17 pear"},
		"first\n\nsecond pear\n  pear pear\n":     {"3:8 pear", "4:3 pear", "4:8 pear"},
		"pick up, pickUp(), picks-up":             {"1:1 pick up", "1:10 pick up", "1:20 picks up"},
		"pick, up; pick(up); pick  up":            {"1:21 pick up"},
		"// to pick\n// up now\n# pick\n# up":     {"1:7 pick up now", "3:3 pick up"},
		"end pick.\n\nup":                         nil,
		"on the left side; its left hand; left":   {"1:34 left"},
		"the left, side":                          {"1:5 left"},
		"Unicode: Pear’s, größerPear, 3pear, été": {"1:10 pear", "1:28 pear", "1:35 pear"},
	} {
		if got := found(t, text, ""); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCheck_fileName(t *testing.T) {
	banned, err := parseList(testWords)
	if err != nil {
		t.Fatal(err)
	}

	got := check(banned, nil, "pear/pear_test.go", "package fruit")
	if len(got) != 1 || got[0].line != 0 || got[0].text != "pear" {
		t.Errorf("got %+v, want one finding in the name", got)
	}
}

func TestCheck_exception(t *testing.T) {
	const text = "types.PearState\npear\n"

	for exceptions, want := range map[string][]string{
		"":                                  {"1:7 pear", "2:1 pear"},
		"file.go | types.PearState | AWS's": {"2:1 pear"},
		"* | PearState | AWS's":             {"2:1 pear"},
		"other.go | PearState | AWS's":      {"1:7 pear", "2:1 pear"},
		"file.go | State | not the word":    {"1:7 pear", "2:1 pear"},
	} {
		if got := found(t, text, exceptions); !slices.Equal(got, want) {
			t.Errorf("exception %q: got %q, want %q", exceptions, got, want)
		}
	}
}

func TestUnusedExceptions_named(t *testing.T) {
	exceptions, err := parseExceptions("file.go | PearState | AWS's\nfile.go | FigState | AWS's")
	if err != nil {
		t.Fatal(err)
	}
	banned, err := parseList(testWords)
	if err != nil {
		t.Fatal(err)
	}

	check(banned, exceptions, "file.go", "PearState")

	err = unusedExceptions(exceptions)
	if err == nil || strings.Contains(err.Error(), "PearState") || !strings.Contains(err.Error(), "FigState") {
		t.Errorf("got %v, want FigState alone", err)
	}
}

func TestParse_malformed(t *testing.T) {
	for _, text := range []string{"pear", "pear:", "pear: "} {
		if _, err := parseList(text); err == nil {
			t.Errorf("list %q: got no error", text)
		}
	}

	for _, text := range []string{"file.go", "file.go | PearState", "file.go | PearState | "} {
		if _, err := parseExceptions(text); err == nil {
			t.Errorf("exception %q: got no error", text)
		}
	}
}

// found returns the findings in the text of file.go as "line:column word".
func found(t *testing.T, text, exceptionLines string) []string {
	t.Helper()

	banned, err := parseList(testWords)
	if err != nil {
		t.Fatal(err)
	}
	exceptions, err := parseExceptions(exceptionLines)
	if err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, f := range check(banned, exceptions, "file.go", text) {
		got = append(got, fmt.Sprintf("%d:%d %s", f.line, f.column, f.text))
	}
	return got
}
