// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package iampolicy parses and evaluates AWS policies of all kinds, and KMS grants. It decides whether a principal may
// do an action on a resource, and if not, which kind of policy refuses. An element, operator or condition key that the
// package does not know is an error. It never allows.
//
// Sources in comments: IAM-UG, KMS-DG and ORG-UG are the AWS guides by page. Bare numbers are the AWS rules.
package iampolicy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Kind is a kind of policy, as AWS's error messages name it (IAM-UG:troubleshoot_access-denied).
type Kind string

// Kinds of policies.
const (
	Identity        Kind = "identity-based policy"
	Session         Kind = "session policy"
	Boundary        Kind = "permissions boundary"
	ServiceControl  Kind = "service control policy"
	ResourceControl Kind = "resource control policy"
	Resource        Kind = "resource-based policy" // also a KMS key policy
	Trust           Kind = "role trust policy"
)

// Document is a parsed policy. It is immutable.
type Document struct {
	kind       Kind
	statements []statement
}

type statement struct {
	name          string // its Sid, or "statement 2"
	deny          bool
	principals    []principalElement // nil if the policy is attached to the principal
	notPrincipals bool
	actions       []glob // in lower case
	notActions    bool
	resources     []pattern
	notResources  bool
	conditions    []condition
	variables     []string // condition keys that it uses as variables
}

// Parse parses a policy of a kind. Its errors name the statement, the element and the mistake.
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

	version, statements, err := rules.parseElements(root)
	if err != nil {
		return nil, err
	}

	d := &Document{kind: kind}
	for i, v := range statements {
		s, err := rules.parseStatement(v, &reader{variables: version == currentVersion})
		if s.name == "" {
			s.name = fmt.Sprintf("statement %d", i+1)
		} else if rules.sids && d.hasStatement(s.name) {
			err = errorOf("Sid", "used twice")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		d.statements = append(d.statements, s)
	}
	return d, nil
}

// Versions of the policy language. A policy without one has the first.
const (
	firstVersion   = "2008-10-17"
	currentVersion = "2012-10-17"
)

// parseElements returns the version and the statements of a policy.
func (r rules) parseElements(root any) (version string, statements []any, err error) {
	elements, ok := root.(object)
	if !ok {
		return "", nil, errors.New("not a JSON object")
	}

	version = firstVersion
	for _, e := range elements {
		switch {
		case e.name == "Version":
			version, _ = e.value.(string)
		case e.name == "Id" && r.id:
			if _, ok := e.value.(string); !ok {
				return "", nil, errorOf("Id", "not a string")
			}
		case e.name == "Statement":
			statements = list(e.value)
		default:
			return "", nil, fmt.Errorf("unknown element %q", e.name)
		}
	}

	if version != currentVersion && (version != firstVersion || r.newest) {
		return "", nil, errors.New("unknown Version")
	}
	if len(statements) == 0 {
		return "", nil, errors.New("no Statement")
	}
	return version, statements, nil
}

func (d *Document) hasStatement(name string) bool {
	return slices.ContainsFunc(d.statements, func(s statement) bool { return s.name == name })
}

// rules are the differences between the kinds of policies (IAM-UG:reference_policies_grammar).
type rules struct {
	id            bool // may have an Id
	newest        bool // must have Version 2012-10-17
	sids          bool // Sids are letters and digits, each used once
	principals    bool // statements must have a Principal
	onlyEveryone  bool // Principal must be "*"
	federated     bool // Principal may be an identity provider
	notPrincipals bool // may have NotPrincipal
	incomplete    bool // statements without Action or Resource have no effect (KMS-DG:key-policy-overview)
	noResource    bool // has no Resource: applies to the resource it is attached to
	completed     bool // ARNs of fewer than six parts are completed with wildcards
	denyOnly      bool // only RCPFullAWSAccess allows (ORG-UG:orgs_manage_policies_rcps_syntax)
}

var grammar = map[Kind]rules{
	Identity:        {sids: true, completed: true},
	Boundary:        {sids: true, completed: true},
	Session:         {sids: true},
	ServiceControl:  {completed: true},
	ResourceControl: {newest: true, principals: true, onlyEveryone: true, denyOnly: true},
	Resource:        {id: true, principals: true, notPrincipals: true, incomplete: true},
	Trust:           {id: true, sids: true, principals: true, federated: true, noResource: true},
}

var sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

func (r rules) parseStatement(v any, in *reader) (s statement, err error) {
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
			s.notPrincipals = e.name == "NotPrincipal"
			s.principals, err = r.parsePrincipals(e.value)
		case "Action", "NotAction":
			s.notActions = e.name == "NotAction"
			s.actions, err = parseAll(e.value, parseAction)
		case "Resource", "NotResource":
			s.notResources = e.name == "NotResource"
			s.resources, err = parseAll(e.value, func(text string) (pattern, error) { return r.parseResource(text, in) })
		case "Condition":
			s.conditions, err = parseConditions(e.value, in)
		default:
			return s, fmt.Errorf("unknown element %q", e.name)
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", e.name, err)
		}
	}

	if err := r.validate(elements, s, effect); err != nil {
		return s, err
	}
	if r.noResource {
		s.resources = []pattern{anything}
	}
	s.variables = in.read
	return s, nil
}

// validate returns an error if the statement lacks an element or has one that this kind of policy may not have.
func (r rules) validate(elements object, s statement, effect string) error {
	for _, name := range []string{"Principal", "Action", "Resource"} {
		if elements.has(name) && elements.has("Not"+name) {
			return fmt.Errorf("both %s and Not%s", name, name)
		}
	}
	if effect != "Allow" && effect != "Deny" {
		return errorOf("Effect", "neither Allow nor Deny")
	}

	return cmp.Or(r.validatePrincipals(s), r.validateScope(s), r.validateDenyOnly(s))
}

func (r rules) validatePrincipals(s statement) error {
	switch {
	case r.principals && s.principals == nil:
		return errors.New("no Principal")
	case !r.principals && s.principals != nil:
		return errorOf("Principal", "not in a policy that is attached to the principal")
	case s.notPrincipals && !r.notPrincipals:
		return errorOf("NotPrincipal", "not in this kind of policy")
	case s.notPrincipals && !s.deny: // IAM-UG:reference_policies_elements_notprincipal
		return errorOf("NotPrincipal", "only with Effect Deny")
	}
	return nil
}

// validateScope validates the actions and resources.
func (r rules) validateScope(s statement) error {
	switch {
	case s.actions == nil && !r.incomplete:
		return errors.New("no Action")
	case s.resources == nil && !r.incomplete && !r.noResource:
		return errors.New("no Resource")
	case s.resources != nil && r.noResource:
		return errorOf("Resource", "not in this kind of policy")
	}
	return nil
}

// validateDenyOnly validates a statement of a kind of policy in which only RCPFullAWSAccess allows.
func (r rules) validateDenyOnly(s statement) error {
	if !r.denyOnly {
		return nil
	}

	everyAction := !s.notActions && len(s.actions) == 1 && slices.Equal(s.actions[0], glob{anyText})
	everyResource := !s.notResources && len(s.resources) == 1 && slices.Equal(s.resources[0].fixed, anything.fixed)
	isFullAccess := everyAction && everyResource && s.conditions == nil

	switch {
	case s.notActions:
		return errorOf("NotAction", "not in this kind of policy")
	case s.deny && everyAction:
		return errorOf("Action", "must name a service")
	case !s.deny && !isFullAccess:
		return errorOf("Effect", "only RCPFullAWSAccess allows")
	}
	return nil
}

// errorOf returns an error in an element.
func errorOf(element, text string) error { return fmt.Errorf("%s: %s", element, text) }

var actionForm = regexp.MustCompile(`^(\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)

func parseAction(text string) (glob, error) {
	if !actionForm.MatchString(text) {
		return nil, fmt.Errorf("%q is not service:Action", text)
	}
	return parseGlob(strings.ToLower(text)), nil
}

// parseResource parses an ARN with wildcards. It must name a service, and variables must follow the fifth colon
// (IAM-UG:reference_policies_elements_resource, reference_policies_variables).
func (r rules) parseResource(text string, in *reader) (pattern, error) {
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

// parseAll parses a string or a list of strings, which must not be empty.
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

// object is a JSON object in its order. Package encoding/json would accept names in any case and duplicate names in a
// struct, which AWS refuses.
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
	v, err := decodeValue(d, 8) // the policy language has at most six levels
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
		return decodeObject(d, depth)
	case json.Delim('['):
		return decodeArray(d, depth)
	}
	return token, nil
}

func decodeObject(d *json.Decoder, depth int) (any, error) {
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
}

func decodeArray(d *json.Decoder, depth int) (any, error) {
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

// list returns a list unchanged, and a single value as a list of one, as in the policy language.
func list(v any) []any {
	if a, ok := v.([]any); ok {
		return a
	}
	return []any{v}
}
