// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package policy parses and evaluates AWS policies of every kind, and KMS grants: may this principal do this action
// on this resource, and if not, which kind of policy refuses? It guesses nothing: an element, operator or condition
// key that it does not know is an error, never an allow.
//
// Sources in comments: IAM-UG, KMS-DG, ORG-UG are the AWS guides by page; bare numbers are the AWS rules.
package iampolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Kind is what a policy is, in the words of an AWS refusal (IAM-UG:troubleshoot_access-denied).
type Kind string

const (
	Identity        Kind = "identity-based policy"
	Session         Kind = "session policy"
	Boundary        Kind = "permissions boundary"
	ServiceControl  Kind = "service control policy"
	ResourceControl Kind = "resource control policy"
	Resource        Kind = "resource-based policy" // a KMS key policy among them
	Trust           Kind = "role trust policy"
)

// Document is a policy, parsed. It is never changed and may be shared.
type Document struct {
	kind       Kind
	statements []statement
}

type statement struct {
	name         string // its Sid, or "statement 2"
	deny         bool
	parties      []party // nil: the policy is attached to the principal
	notParties   bool
	actions      []glob // in lower case
	notActions   bool
	resources    []pattern
	notResources bool
	conditions   []condition
	variables    []string // condition keys that it reads as variables
}

// Parse reads a policy of a kind. Its errors name the statement, the element and what is wrong with it.
func Parse(text []byte, kind Kind) (*Document, error) {
	d, err := parse(text, kind)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return d, nil
}

func parse(text []byte, kind Kind) (*Document, error) {
	rules, known := grammar[kind]
	if !known {
		return nil, errors.New("unknown kind of policy")
	}
	root, err := decode(text)
	if err != nil {
		return nil, err
	}
	elements, ok := root.(object)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	version, statements := "2008-10-17", []any(nil)
	for _, e := range elements {
		switch {
		case e.name == "Version":
			version, _ = e.value.(string)
		case e.name == "Id" && rules.id:
			if _, ok := e.value.(string); !ok {
				return nil, errors.New("Id: not a string")
			}
		case e.name == "Statement":
			statements = list(e.value)
		default:
			return nil, fmt.Errorf("unknown element %q", e.name)
		}
	}
	if version != "2012-10-17" && (version != "2008-10-17" || rules.newest) {
		return nil, errors.New("unknown Version")
	}
	if len(statements) == 0 {
		return nil, errors.New("no Statement")
	}
	d := &Document{kind: kind}
	for i, v := range statements {
		s, err := rules.statement(v, &reader{variables: version == "2012-10-17"})
		if s.name == "" {
			s.name = fmt.Sprintf("statement %d", i+1)
		} else if rules.sids && slices.ContainsFunc(d.statements, func(other statement) bool { return other.name == s.name }) {
			err = errors.New("Sid used twice")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		d.statements = append(d.statements, s)
	}
	return d, nil
}

// rules are what the kinds of policies differ in (IAM-UG:reference_policies_grammar).
type rules struct {
	id         bool // may have an Id
	newest     bool // must have Version 2012-10-17
	sids       bool // Sids are letters and digits, each used once
	principals bool // statements name principals
	everyone   bool // ... but none in particular: "*"
	federated  bool // ... also of identity providers
	excepting  bool // ... or all but some: NotPrincipal
	incomplete bool // may leave out Action or Resource: the statement is without effect (KMS-DG:key-policy-overview)
	itself     bool // has no Resource: it is about what it is attached to
	completed  bool // ARNs of fewer than six parts are completed with wildcards
	denying    bool // only RCPFullAWSAccess allows (ORG-UG:orgs_manage_policies_rcps_syntax)
}

var grammar = map[Kind]rules{
	Identity:        {sids: true, completed: true},
	Boundary:        {sids: true, completed: true},
	Session:         {sids: true},
	ServiceControl:  {completed: true},
	ResourceControl: {newest: true, principals: true, everyone: true, denying: true},
	Resource:        {id: true, principals: true, excepting: true, incomplete: true},
	Trust:           {id: true, sids: true, principals: true, federated: true, itself: true},
}

var sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

func (r rules) statement(v any, in *reader) (s statement, err error) {
	elements, ok := v.(object)
	if !ok {
		return s, errors.New("not a JSON object")
	}
	effect := ""
	for _, e := range elements {
		switch e.name {
		case "Sid":
			s.name, ok = e.value.(string)
			if !ok || r.sids && !sid.MatchString(s.name) {
				err = errors.New("not letters and digits")
			}
		case "Effect":
			effect, _ = e.value.(string)
			s.deny = effect == "Deny"
		case "Principal", "NotPrincipal":
			s.notParties = e.name == "NotPrincipal"
			s.parties, err = r.parties(e.value)
		case "Action", "NotAction":
			s.notActions = e.name == "NotAction"
			s.actions, err = parseAll(e.value, action)
		case "Resource", "NotResource":
			s.notResources = e.name == "NotResource"
			s.resources, err = parseAll(e.value, func(text string) (pattern, error) { return r.resource(text, in) })
		case "Condition":
			s.conditions, err = parseConditions(e.value, in)
		default:
			return s, fmt.Errorf("unknown element %q", e.name)
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if err := r.check(elements, s, effect); err != nil {
		return s, err
	}
	if r.itself {
		s.resources = []pattern{anything}
	}
	s.variables = in.read
	return s, nil
}

// check says what is missing in a statement, or what a policy of this kind may not have.
func (r rules) check(elements object, s statement, effect string) error {
	for _, name := range []string{"Principal", "Action", "Resource"} {
		if elements.has(name) && elements.has("Not"+name) {
			return fmt.Errorf("both %s and Not%s", name, name)
		}
	}
	everyAction := !s.notActions && len(s.actions) == 1 && slices.Equal(s.actions[0], glob{anyText})
	everything := !s.notResources && len(s.resources) == 1 && slices.Equal(s.resources[0].fixed, anything.fixed)
	switch {
	case effect != "Allow" && effect != "Deny":
		return errors.New("Effect: neither Allow nor Deny")
	case r.principals && s.parties == nil:
		return errors.New("no Principal")
	case !r.principals && s.parties != nil:
		return errors.New("Principal: not in a policy that is attached to the principal")
	case s.notParties && !r.excepting:
		return errors.New("NotPrincipal: not in this kind of policy")
	case s.notParties && !s.deny: // IAM-UG:reference_policies_elements_notprincipal
		return errors.New("NotPrincipal: only with Effect Deny")
	case s.actions == nil && !r.incomplete:
		return errors.New("no Action")
	case s.resources == nil && !r.incomplete && !r.itself:
		return errors.New("no Resource")
	case s.resources != nil && r.itself:
		return errors.New("Resource: not in this kind of policy")
	case r.denying && s.notActions:
		return errors.New("NotAction: not in this kind of policy")
	case r.denying && s.deny && everyAction:
		return errors.New("Action: a service has to be named")
	case r.denying && !s.deny && !(everyAction && everything && s.conditions == nil):
		return errors.New("Effect: only RCPFullAWSAccess allows")
	}
	return nil
}

var actionForm = regexp.MustCompile(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)

func action(text string) (glob, error) {
	if !actionForm.MatchString(text) {
		return nil, fmt.Errorf("%q is not service:Action", text)
	}
	return wild(strings.ToLower(text)), nil
}

// resource reads an ARN with wildcards. Its service is named, and variables stand behind the fifth colon
// (IAM-UG:reference_policies_elements_resource, reference_policies_variables).
func (r rules) resource(text string, in *reader) (pattern, error) {
	if text == "*" {
		return anything, nil
	}
	parts := strings.SplitN(text, ":", 6)
	if parts[0] != "arn" || len(parts) < 6 && !r.completed {
		return pattern{}, fmt.Errorf("%q is not an ARN", text)
	}
	if in.variables && strings.Contains(strings.Join(parts[:min(len(parts), 5)], ":"), "${") {
		return pattern{}, fmt.Errorf("%q has a variable before the fifth colon", text)
	}
	return in.pattern(text+strings.Repeat(":*", 6-len(parts)), true)
}

// parseAll reads one string, or a list of them, that is not empty.
func parseAll[T any](v any, one func(string) (T, error)) ([]T, error) {
	var all []T
	for _, v := range list(v) {
		text, ok := v.(string)
		if !ok || text == "" {
			return nil, errors.New("neither a string nor a list of strings")
		}
		t, err := one(text)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		return nil, errors.New("empty")
	}
	return all, nil
}

// object is a JSON object that keeps its order. encoding/json's structs would take names in any case, and names that
// come twice, which AWS refuses.
type object []member

type member struct {
	name  string
	value any
}

func (o object) has(name string) bool {
	return slices.ContainsFunc(o, func(m member) bool { return m.name == name })
}

func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := decodeValue(d, 8) // the policy language is six deep
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text after the policy")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, errors.New("nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		o := object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			if o.has(name.(string)) {
				return nil, fmt.Errorf("%q twice in the same object", name)
			}
			v, err := decodeValue(d, depth-1)
			if err != nil {
				return nil, err
			}
			o = append(o, member{name.(string), v})
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		a := []any{}
		for d.More() {
			v, err := decodeValue(d, depth-1)
			if err != nil {
				return nil, err
			}
			a = append(a, v)
		}
		_, err := d.Token()
		return a, err
	}
	return token, nil
}

// list makes one value a list of one, as the policy language does.
func list(v any) []any {
	if a, ok := v.([]any); ok {
		return a
	}
	return []any{v}
}
