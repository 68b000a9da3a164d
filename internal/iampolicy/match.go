// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// glob is a pattern: runes of text, and wildcards, which are runes of no text.
type glob []rune

const (
	anyText   rune = -1 // *
	anyRune   rune = -2 // ?
	inSegment rune = -3 // * before the end of a segment of an ARN: it stops at a colon
)

// wild is text with its wildcards.
func wild(text string) glob {
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

// matches reports whether the pattern stands for the whole text.
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
	// reached[i]: the text so far may be what the first i elements stand for.
	reached := append(make([]bool, 0, 64), true)
	for i, element := range g {
		reached = append(reached, reached[i] && (element == anyText || element == inSegment))
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

// pattern is text with wildcards and variables.
type pattern struct {
	text  template
	arn   bool // of a Resource element
	fixed glob // without variables: what it always is
}

var anything = pattern{fixed: glob{anyText}}

// matches reports whether the pattern, with the variables of a request, stands for the whole text.
func (p pattern) matches(text string, e *evaluation) bool {
	g, ok := p.glob(e)
	return ok && g.matches(text)
}

// glob is the pattern with the variables of a request; false when one has no value.
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
			g = append(g, wild(part.text)...)
		}
	}
	if p.arn {
		g = g.ofARN()
	}
	return g, ok
}

// template is text with variables (IAM-UG:reference_policies_variables).
type template []part

// part is text with wildcards; literal text; or, with a key, a variable: the value of that condition key.
type part struct {
	text    string // of a variable: its default
	literal bool
	key     string // in lower case
	always  bool   // the variable has a default
}

// reader reads the texts of a statement, and notes the condition keys that they read.
type reader struct {
	variables bool // there are variables: since Version 2012-10-17
	read      []string
}

var variableForm = regexp.MustCompile(`^([^,']+)(, *'([^']*)')?$`)

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
	return part{key: key.name, text: form[3], literal: true, always: form[2] != ""}, nil
}

// pattern reads a text with wildcards, of a Resource element or not.
func (in *reader) pattern(text string, arn bool) (pattern, error) {
	t, err := in.template(text)
	p := pattern{text: t, arn: arn}
	if len(t) == 1 {
		p.fixed, _ = p.glob(nil)
	}
	return p, err
}

// resolve fills the variables in; false when one has no value.
func (t template) resolve(e *evaluation) (template, bool) {
	resolved := slices.Clone(t)
	for i, p := range resolved {
		if p.key == "" {
			continue
		}
		if values := e.values(p.key); len(values) == 1 {
			resolved[i].text = values[0]
		} else if !p.always {
			return nil, false
		}
	}
	return resolved, true
}

// plain is the text where * and ? mean nothing.
func (t template) plain(e *evaluation) (string, bool) {
	resolved, ok := t.resolve(e)
	var b strings.Builder
	for _, p := range resolved {
		b.WriteString(p.text)
	}
	return b.String(), ok
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

// spares reports whether, inside the account, a policy of the principal need not allow.
func (s standing) spares(k Kind) bool { return s == inPerson || s == inRole && k == Identity }

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

// service: an AWS service, or an identity provider, for itself.
func (p Principal) service() bool { return p.Account == "" }

func (p Principal) root() bool { return p.Account != "" && p.ARN == p.accountARN() }

// serviceLinked reports whether it is a role that belongs to a service (ORG-UG, rule 8.1).
func (p Principal) serviceLinked() bool {
	return strings.Contains(p.Role, ":role/aws-service-role/")
}

// accountARN is the ARN that stands for the principal's account, in its partition.
func (p Principal) accountARN() string {
	return "arn:" + arnPart(p.ARN, 1) + ":iam::" + p.Account + ":root"
}

// arnPart is one of the six parts of an ARN: arn, partition, service, Region, account, resource; "" of what is none.
func arnPart(arn string, i int) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[i]
}
