// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Context holds the condition keys of a request with their values. The case of the names does not matter. A key without
// a value counts as absent.
type Context map[string][]string

// condition is one operator and one key of a Condition element. All conditions of a statement must hold.
type condition struct {
	operator string // as written
	comparison
	set      string // "ForAnyValue", "ForAllValues" or empty
	ifExists bool
	key      conditionKey
	values   []matcher // one of them must match, or none with a negated operator
}

// comparison compares a value of the policy with a value of the request, as an operator does
// (IAM-UG:reference_policies_elements_condition_operators).
type comparison struct {
	negated bool
	keys    []valueType // types of keys that the operator accepts; nil for all
	parse   func(value string, in *reader) (matcher, error)
}

// matcher reports whether a value of the request matches one of the policy.
type matcher func(have string, e *evaluation) bool

var comparisons = map[string]comparison{
	"StringEquals":              {parse: equal(func(a, b string) bool { return a == b })},
	"StringNotEquals":           {parse: equal(func(a, b string) bool { return a == b }), negated: true},
	"StringEqualsIgnoreCase":    {parse: equal(strings.EqualFold)},
	"StringNotEqualsIgnoreCase": {parse: equal(strings.EqualFold), negated: true},
	"StringLike":                {parse: like},
	"StringNotLike":             {parse: like, negated: true},
	"ArnEquals":                 {parse: likeARN, keys: []valueType{arns, texts}},
	"ArnLike":                   {parse: likeARN, keys: []valueType{arns, texts}},
	"ArnNotEquals":              {parse: likeARN, keys: []valueType{arns, texts}, negated: true},
	"ArnNotLike":                {parse: likeARN, keys: []valueType{arns, texts}, negated: true},
	"NumericEquals":             {parse: number(func(a, b float64) bool { return a == b }), keys: []valueType{numbers}},
	"NumericNotEquals": {
		parse:   number(func(a, b float64) bool { return a == b }),
		keys:    []valueType{numbers},
		negated: true,
	},
	"NumericLessThan":          {parse: number(func(a, b float64) bool { return a < b }), keys: []valueType{numbers}},
	"NumericLessThanEquals":    {parse: number(func(a, b float64) bool { return a <= b }), keys: []valueType{numbers}},
	"NumericGreaterThan":       {parse: number(func(a, b float64) bool { return a > b }), keys: []valueType{numbers}},
	"NumericGreaterThanEquals": {parse: number(func(a, b float64) bool { return a >= b }), keys: []valueType{numbers}},
	"DateEquals":               {parse: date(func(order int) bool { return order == 0 }), keys: []valueType{dates}},
	"DateNotEquals": {
		parse:   date(func(order int) bool { return order == 0 }),
		keys:    []valueType{dates},
		negated: true,
	},
	"DateLessThan":          {parse: date(func(order int) bool { return order < 0 }), keys: []valueType{dates}},
	"DateLessThanEquals":    {parse: date(func(order int) bool { return order <= 0 }), keys: []valueType{dates}},
	"DateGreaterThan":       {parse: date(func(order int) bool { return order > 0 }), keys: []valueType{dates}},
	"DateGreaterThanEquals": {parse: date(func(order int) bool { return order >= 0 }), keys: []valueType{dates}},
	"Bool":                  {parse: boolean, keys: []valueType{bools}},
	"BinaryEquals":          {parse: binary, keys: []valueType{texts}},
	"IpAddress":             {parse: address, keys: []valueType{addresses}},
	"NotIpAddress":          {parse: address, keys: []valueType{addresses}, negated: true},
	"Null":                  {parse: boolean},
}

func parseConditions(v any, in *reader) ([]condition, error) {
	operators, ok := v.(object)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	var all []condition
	for _, o := range operators {
		keys, ok := o.value.(object)
		if !ok {
			return nil, fmt.Errorf("%s: not a JSON object", o.name)
		}
		for _, k := range keys {
			c, err := parseCondition(o.name, k.name, k.value, in)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", o.name, err)
			}
			all = append(all, c)
		}
	}
	return all, nil
}

func parseCondition(operator, key string, values any, in *reader) (c condition, err error) {
	name := operator
	for _, set := range []string{"ForAnyValue", "ForAllValues"} {
		if rest, ok := strings.CutPrefix(operator, set+":"); ok {
			name, c.set = rest, set
		}
	}
	name, c.ifExists = strings.CutSuffix(name, "IfExists")

	var found bool
	c.operator = operator
	c.comparison, found = comparisons[name]
	if !found || name == "Null" && operator != "Null" {
		return c, errors.New("unknown operator")
	}
	if c.key, err = findKey(key); err != nil {
		return c, err
	}
	if c.keys != nil && !slices.Contains(c.keys, c.key.of) {
		return c, fmt.Errorf("%s: not an operator for this key", key)
	}

	for _, v := range list(values) {
		value, err := scalar(v)
		if err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
		m, err := c.parse(value, in)
		if err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
		c.values = append(c.values, m)
	}

	if len(c.values) == 0 {
		return c, fmt.Errorf("%s: no value", key)
	}
	return c, nil
}

// scalar returns a value as text. Quotation marks are optional for numbers and booleans
// (IAM-UG:reference_policies_grammar).
func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", errors.New("neither a string, a number nor a boolean")
}

// holds reports whether the condition is true. It returns an error if the request's values are not known. It also
// returns an error for several values without a set operator, because AWS does not document that case.
func (c condition) holds(e *evaluation) (bool, error) {
	values := e.values(c.key.name)
	matches := func(value string) bool {
		return slices.ContainsFunc(c.values, func(m matcher) bool { return m(value, e) }) != c.negated
	}
	switch {
	case len(values) == 0 && e.isUnsure(c.key.name):
		return false, fmt.Errorf("%s of %s, which is not known", c.operator, c.key.name)
	case c.operator == "Null":
		return matches(strconv.FormatBool(len(values) == 0)), nil
	case len(values) == 0:
		return c.ifExists || c.set == "ForAllValues" || c.set == "" && c.negated, nil
	case c.set == "ForAnyValue":
		return slices.ContainsFunc(values, matches), nil
	case c.set == "ForAllValues":
		return !slices.ContainsFunc(values, func(value string) bool { return !matches(value) }), nil
	case len(values) > 1:
		return false, fmt.Errorf("%s of %s, which has %d values", c.operator, c.key.name, len(values))
	}
	return matches(values[0]), nil
}

func equal(same func(a, b string) bool) func(string, *reader) (matcher, error) {
	return func(value string, in *reader) (matcher, error) {
		t, err := in.template(value)
		return func(have string, e *evaluation) bool {
			want, ok := t.plain(e)
			return ok && same(want, have)
		}, err
	}
}

func like(value string, in *reader) (matcher, error) {
	p, err := in.pattern(value, false)
	return p.matches, err
}

// likeARN parses a pattern whose six parts are compared separately.
func likeARN(value string, in *reader) (matcher, error) {
	p, err := in.pattern(value, false)
	return func(have string, e *evaluation) bool {
		want, ok := p.glob(e)
		parts, patterns := strings.SplitN(have, ":", 6), want.segments()
		if !ok || len(parts) < 6 || len(patterns) < 6 {
			return false
		}
		for i, segment := range patterns {
			if !segment.matches(parts[i]) {
				return false
			}
		}
		return true
	}, err
}

func number(compare func(have, want float64) bool) func(string, *reader) (matcher, error) {
	return func(value string, _ *reader) (matcher, error) {
		want, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number", value)
		}
		return func(have string, _ *evaluation) bool {
			n, err := strconv.ParseFloat(have, 64)
			return err == nil && compare(n, want)
		}, nil
	}
}

func date(compare func(order int) bool) func(string, *reader) (matcher, error) {
	return func(value string, _ *reader) (matcher, error) {
		want, err := parseDate(value)
		if err != nil {
			return nil, err
		}
		return func(have string, _ *evaluation) bool {
			t, err := parseDate(have)
			return err == nil && compare(t.Compare(want))
		}, nil
	}
}

// parseDate parses a W3C date or seconds since 1970. It refuses a bare year, which could be either.
func parseDate(value string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t, nil
		}
	}
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && len(value) > 4 {
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a date", value)
}

func boolean(value string, _ *reader) (matcher, error) {
	if value != "true" && value != "false" {
		return nil, fmt.Errorf("%q is neither true nor false", value)
	}
	return func(have string, _ *evaluation) bool { return have == value }, nil
}

func binary(value string, _ *reader) (matcher, error) {
	want, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("%q is not base64", value)
	}
	return func(have string, _ *evaluation) bool {
		b, err := base64.StdEncoding.DecodeString(have)
		return err == nil && slices.Equal(b, want)
	}, nil
}

// address parses an IP address or a range of addresses.
func address(value string, _ *reader) (matcher, error) {
	want, err := netip.ParsePrefix(value)
	if single, e := netip.ParseAddr(value); e == nil {
		want, err = single.Prefix(single.BitLen())
	}
	if err != nil {
		return nil, fmt.Errorf("%q is neither an address nor a range", value)
	}
	return func(have string, _ *evaluation) bool {
		a, err := netip.ParseAddr(have)
		return err == nil && want.Contains(a)
	}, nil
}
