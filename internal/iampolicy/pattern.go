// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// glob is a pattern: the runes of a text, and negative runes for wildcards.
type glob []rune

const (
	anyText   rune = -1 // *
	anyRune   rune = -2 // ?
	inSegment rune = -3 // * before the end of an ARN's segment, which stops at a colon
)

// MatchesWildcards reports whether a pattern with the wildcards * and ? matches the whole text.
func MatchesWildcards(pattern, text string) bool { return parseGlob(pattern).matches(text) }

// parseGlob returns a text with its wildcards.
func parseGlob(text string) glob {
	g := glob(text)
	for i, r := range g {
		switch r {
		case '*':
			g[i] = anyText
		case '?':
			g[i] = anyRune
		}
	}
	return g
}

// inARN changes the pattern to its meaning in Resource elements: only a * at the end of a segment matches colons
// (IAM-UG:reference_policies_elements_resource).
func (g glob) inARN() glob {
	for i := range len(g) - 1 {
		if g[i] == anyText && g[i+1] != ':' {
			g[i] = inSegment
		}
	}
	return g
}

// matches reports whether the pattern matches the whole text.
func (g glob) matches(text string) bool {
	for len(g) > 0 && g[0] >= 0 {
		r, size := utf8.DecodeRuneInString(text)
		if size == 0 || r != g[0] {
			return false
		}
		g, text = g[1:], text[size:]
	}
	if len(g) == 0 || len(g) == 1 && g[0] == anyText {
		return len(g) == 1 || text == ""
	}

	// reached[i] is true if the first i elements match the text so far.
	reached := append(make([]bool, 0, 64), true)
	for i, element := range g {
		reached = append(reached, reached[i] && (element == anyText || element == inSegment))
	}
	for _, r := range text {
		g.advance(reached, r)
	}
	return reached[len(g)]
}

// advance updates which prefixes of the pattern match the text after one more rune of it.
func (g glob) advance(reached []bool, r rune) {
	before := reached[0]
	reached[0] = false

	for i, element := range g {
		here := reached[i+1]
		switch element {
		case anyText:
			reached[i+1] = reached[i] || here
		case inSegment:
			reached[i+1] = reached[i] || here && r != ':'
		case anyRune:
			reached[i+1] = before
		default:
			reached[i+1] = before && element == r
		}
		before = here
	}
}

// segments returns the six parts of an ARN's pattern, or fewer if it has fewer.
func (g glob) segments() []glob {
	var parts []glob
	for len(parts) < 5 {
		colon := slices.Index(g, ':')
		if colon < 0 {
			break
		}
		parts, g = append(parts, g[:colon]), g[colon+1:]
	}
	return append(parts, g)
}

// pattern is a text with wildcards and variables.
type pattern struct {
	text  template
	arn   bool // of a Resource element
	fixed glob // the whole pattern; nil if it has variables
}

var anything = pattern{fixed: glob{anyText}}

// matches reports whether the pattern, with the variables of a request, matches the whole text.
func (p pattern) matches(text string, e *evaluation) bool {
	g, ok := p.glob(e)
	return ok && g.matches(text)
}

// glob returns the pattern with the variables of a request. It returns false if one has no value.
func (p pattern) glob(e *evaluation) (glob, bool) {
	if p.fixed != nil {
		return p.fixed, true
	}

	resolved, ok := p.text.resolve(e)
	g := glob{}
	for _, part := range resolved {
		if part.literal {
			g = append(g, glob(part.text)...)
		} else {
			g = append(g, parseGlob(part.text)...)
		}
	}
	if p.arn {
		g = g.inARN()
	}
	return g, ok
}

// template is a text with variables (IAM-UG:reference_policies_variables).
type template []part

// part is a text with wildcards, a literal text, or a variable: the value of a condition key.
type part struct {
	text       string // the default of a variable
	literal    bool
	key        string // of a variable, in lower case
	hasDefault bool
}

// reader parses the texts of a statement.
type reader struct {
	variables bool     // the texts have variables: since Version 2012-10-17
	read      []string // condition keys that are used as variables
}

var variableForm = regexp.MustCompile(`^([^,']+)(, *'([^']*)')?$`)

// template parses a text with variables.
func (in *reader) template(text string) (template, error) {
	var t template
	for in.variables {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			break
		}
		name, after, found := strings.Cut(rest, "}")
		if !found {
			return nil, fmt.Errorf("%q has a variable without an end", text)
		}
		v, err := in.variable(name)
		if err != nil {
			return nil, err
		}
		t, text = append(t, part{text: before}, v), after
	}
	return append(t, part{text: text}), nil
}

// variable parses the inside of ${}.
func (in *reader) variable(name string) (part, error) {
	if name == "*" || name == "?" || name == "$" {
		return part{text: name, literal: true}, nil
	}

	form := variableForm.FindStringSubmatch(name)
	if form == nil {
		return part{}, fmt.Errorf("unknown variable ${%s}", name)
	}
	key, err := findKey(form[1])
	if err != nil {
		return part{}, fmt.Errorf("variable: %w", err)
	}
	if key.many {
		return part{}, fmt.Errorf("variable ${%s} may have several values", name)
	}

	in.read = append(in.read, key.name)
	return part{key: key.name, text: form[3], literal: true, hasDefault: form[2] != ""}, nil
}

// pattern parses a text with wildcards. Those of a Resource element stop at colons.
func (in *reader) pattern(text string, arn bool) (pattern, error) {
	t, err := in.template(text)
	p := pattern{text: t, arn: arn}
	if len(t) == 1 {
		p.fixed, _ = p.glob(nil)
	}
	return p, err
}

// resolve returns the text with the values of its variables. The result is false if one has no value.
func (t template) resolve(e *evaluation) (template, bool) {
	resolved := slices.Clone(t)
	for i, p := range resolved {
		if p.key == "" {
			continue
		}
		if values := e.values(p.key); len(values) == 1 {
			resolved[i].text = values[0]
		} else if !p.hasDefault {
			return nil, false
		}
	}
	return resolved, true
}

// plain returns the text in which * and ? are ordinary characters.
func (t template) plain(e *evaluation) (string, bool) {
	resolved, ok := t.resolve(e)
	var b strings.Builder
	for _, p := range resolved {
		b.WriteString(p.text)
	}
	return b.String(), ok
}
