// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// glob is a pattern: runes of text, and wildcards, which are runes of no text.
type glob []rune

const (
	anyText   rune = -1 // *
	anyRune   rune = -2 // ?
	inSegment rune = -3 // * before the end of a segment of an ARN: it stops at a colon
)

// matches reports whether the pattern stands for the whole text.
func (g glob) matches(text string) bool {
	// reached[i]: the text so far may be what the first i elements stand for.
	reached := make([]bool, len(g)+1)
	reached[0] = true
	for i := 0; i < len(g) && (g[i] == anyText || g[i] == inSegment); i++ {
		reached[i+1] = true
	}
	for _, r := range text {
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
	return reached[len(g)]
}

// ofARN is the pattern as Resource elements mean it: only a * at the end of a segment goes past the colon
// (IAM-UG:reference_policies_elements_resource).
func (g glob) ofARN() glob {
	for i := range len(g) - 1 {
		if g[i] == anyText && g[i+1] != ':' {
			g[i] = inSegment
		}
	}
	return g
}

// segments cuts an ARN's pattern into its six parts; fewer when it has fewer.
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

// template is text of a policy, with wildcards and variables (IAM-UG:reference_policies_variables).
type template []part

// part is text; or, with a key, a variable: the value of a condition key.
type part struct {
	text      string // of a variable: its default
	literal   bool   // * and ? in it are no wildcards
	key       string // in lower case
	hasBackup bool   // the variable has a default
}

var anything = template{{text: "*"}}

var variableForm = regexp.MustCompile(`^([^,']+)(?:, *'([^']*)')?$`)

// parseTemplate reads text. Without variables (Version 2008-10-17) it is all text.
func parseTemplate(text string, variables bool) (template, error) {
	var t template
	for variables {
		start := strings.Index(text, "${")
		if start < 0 {
			break
		}
		length := strings.Index(text[start:], "}")
		if length < 0 {
			return nil, fmt.Errorf("%q has a variable without an end", text)
		}
		if start > 0 {
			t = append(t, part{text: text[:start]})
		}
		p, err := variable(text[start+2 : start+length])
		if err != nil {
			return nil, err
		}
		t, text = append(t, p), text[start+length+1:]
	}
	if text != "" || t == nil {
		t = append(t, part{text: text})
	}
	return t, nil
}

func variable(name string) (part, error) {
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
	return part{key: key.name, text: form[2], literal: true, hasBackup: strings.Contains(name, ",")}, nil
}

// resolve gives the parts with their variables filled in; false when one has no value.
func (t template) resolve(c Context) (template, bool) {
	resolved := slices.Clone(t)
	for i, p := range resolved {
		if p.key == "" {
			continue
		}
		if values := c[p.key]; len(values) == 1 {
			resolved[i].text = values[0]
		} else if !p.hasBackup {
			return nil, false
		}
	}
	return resolved, true
}

// plain is the text where wildcards mean nothing; false when a variable has no value.
func (t template) plain(c Context) (string, bool) {
	resolved, ok := t.resolve(c)
	var b strings.Builder
	for _, p := range resolved {
		b.WriteString(p.text)
	}
	return b.String(), ok
}

// glob is the pattern; false when a variable has no value.
func (t template) glob(c Context) (glob, bool) {
	resolved, ok := t.resolve(c)
	var g glob
	for _, p := range resolved {
		for _, r := range p.text {
			switch {
			case r == '*' && !p.literal:
				r = anyText
			case r == '?' && !p.literal:
				r = anyRune
			}
			g = append(g, r)
		}
	}
	return g, ok
}

// party is one that a Principal element names.
type party string

const everyone party = "*"

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	partyForm   = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/[^*?]+)|sts::[0-9]{12}:(assumed-role|federated-user)/[^*?]+)$`)
	removedForm = regexp.MustCompile(`^A[A-Z0-9]{15,}$`) // unique id of a removed user or role: it matches nobody
	serviceForm = regexp.MustCompile(`^[a-z0-9.-]+\.(amazonaws\.com|amazonaws\.com\.cn|aws\.internal)$`)
)

// parties reads a Principal element (IAM-UG:reference_policies_elements_principal).
func (r rules) parties(v any) ([]party, error) {
	if v == "*" {
		return []party{everyone}, nil
	}
	types, ok := v.(object)
	if !ok || len(types) == 0 {
		return nil, errors.New("neither * nor an object")
	}
	if r.everyone {
		return nil, errors.New("only *")
	}
	var all []party
	for _, t := range types {
		named, err := parseAll(t.value, func(text string) (party, error) {
			switch {
			case t.name == "AWS" && (text == "*" || accountForm.MatchString(text) || partyForm.MatchString(text) || removedForm.MatchString(text)),
				t.name == "Service" && serviceForm.MatchString(text),
				t.name == "Federated" && r.federated && !strings.ContainsAny(text, "*?"):
				return party(text), nil
			}
			return "", fmt.Errorf("unknown principal %s %q", t.name, text)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, named...)
	}
	return all, nil
}

// standing is how a resource's policy, or a grant, knows a principal. It decides which of the principal's own
// policies still limit it inside one account (IAM-UG:reference_policies_evaluation-logic_policy-eval-denyallow).
type standing int

const (
	stranger  standing = iota // not at all
	inAccount                 // through its account, which has to allow by an identity policy
	inRole                    // through its role: boundary and session policies still limit
	inPerson                  // by its own ARN, or as everyone
)

// standing of a principal that a party may be.
func (p party) standing(who Principal) standing {
	switch {
	case p == everyone || p == party(who.ARN):
		return inPerson
	case who.Role != "" && p == party(who.Role):
		return inRole
	case who.Account != "" && (p == party(who.Account) || p == party(who.accountARN())):
		if who.root() {
			return inPerson
		}
		return inAccount
	}
	return stranger
}

// excepts reports whether a NotPrincipal element leaves a principal out. AWS looks for the account first and then for the
// user or role; whoever has a boundary is never left out (IAM-UG:reference_policies_elements_notprincipal).
func excepts(parties []party, who Principal, bounded bool) bool {
	account, self := who.service(), who.root()
	for _, p := range parties {
		switch {
		case p == everyone:
			return true
		case p == party(who.Account) || p == party(who.accountARN()):
			account = true
		case p == party(who.Role) || who.Role == "" && p == party(who.ARN):
			self = true
		}
	}
	return account && self && !bounded
}
