// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awslimits

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Subject is a value, or a list of values, that AWS limits.
type Subject string

// Kind says what a limit restricts.
type Kind string

// Kinds of limits.
const (
	MinLength   Kind = "minimum length"  // characters of a text
	MaxLength   Kind = "maximum length"  // characters of a text
	Characters  Kind = "characters"      // that a text may consist of
	Prefix      Kind = "reserved prefix" // that a text may not begin with, in upper or lower case
	Format      Kind = "format"          // of a text
	OneOf       Kind = "enumeration"     // of texts
	MaxCount    Kind = "maximum count"   // of the elements of a list
	MinNumber   Kind = "minimum"         // of a number
	MaxNumber   Kind = "maximum"         // of a number
	MultipleOf  Kind = "step"            // that a number is a multiple of
	Future      Kind = "after now"       // of a time
	MaxYears    Kind = "years from now"  // of a time
	Combination Kind = "combination"     // of values; a function of this package checks it
)

// Limit is one limit of AWS.
type Limit struct {
	Subject Subject
	Kind    Kind
	Number  int                   // the limit, for lengths, counts, numbers and years
	Words   string                // what is counted, allowed or expected, for messages; for Prefix, the prefix
	Values  []string              // the allowed texts, for OneOf
	Pattern func() *regexp.Regexp // matches each allowed text, for Characters and Format
	Refused string                // an example that AWS refuses, for Characters, Format and Combination
	Source  string                // where AWS documents the limit, or where the refusal was seen
}

// limitsOf holds the limits of each subject, in the order of the table.
var limitsOf = func() map[Subject][]Limit {
	index := map[Subject][]Limit{}
	for _, limit := range Table {
		index[limit.Subject] = append(index[limit.Subject], limit)
	}
	return index
}()

// Of returns the limits of a subject.
func Of(subject Subject) []Limit { return limitsOf[subject] }

// Number returns the number of a subject's limit. It panics if the table has no such limit.
func Number(subject Subject, kind Kind) int {
	for _, limit := range limitsOf[subject] {
		if limit.Kind == kind {
			return limit.Number
		}
	}
	panic(fmt.Sprintf("awslimits: no %s of %s", kind, subject))
}

// Check returns how a text exceeds the limits of a subject, as words that follow the text in a message. It returns nil
// if AWS accepts the text.
func Check(subject Subject, value string) error {
	return check(subject, func(l Limit) error { return l.text(value) })
}

// CheckNumber returns how a number exceeds the limits of a subject. It returns nil if AWS accepts the number.
func CheckNumber(subject Subject, n int) error {
	return check(subject, func(l Limit) error { return l.number(n) })
}

// CheckCount returns how the length of a list exceeds the limit of a subject. It returns nil if AWS accepts the list.
func CheckCount(subject Subject, n int) error {
	return check(subject, func(l Limit) error { return l.count(n) })
}

// CheckTime returns how a time exceeds the limits of a subject. It returns nil if AWS accepts the time.
func CheckTime(subject Subject, at, now time.Time) error {
	return check(subject, func(l Limit) error { return l.time(at, now) })
}

// Match returns what the groups of a subject's format match in a text, after the whole text. Nil if the text has
// another format.
func Match(subject Subject, value string) []string {
	for _, limit := range limitsOf[subject] {
		if limit.Kind == Format {
			return limit.Pattern().FindStringSubmatch(value)
		}
	}
	panic("awslimits: no format of " + string(subject))
}

// check returns the first violated limit of a subject. Nil if there is none.
func check(subject Subject, one func(Limit) error) error {
	limits, known := limitsOf[subject]
	if !known {
		panic("awslimits: no limits of " + string(subject))
	}
	for _, limit := range limits {
		if err := one(limit); err != nil {
			return err
		}
	}
	return nil
}

// text checks a text against a limit of texts.
func (l Limit) text(value string) error {
	n := utf8.RuneCountInString(value)
	switch {
	case l.Kind == MinLength && n < l.Number:
		return fmt.Errorf("has %s, AWS requires %d", counted(n, "character"), l.Number)
	case l.Kind == MaxLength && n > l.Number:
		return fmt.Errorf("has %s, AWS allows %d", counted(n, "character"), l.Number)
	case l.Kind == Characters && !l.Pattern().MatchString(value):
		return fmt.Errorf("has characters that AWS does not allow here: use %s", l.Words)
	case l.Kind == Prefix && hasPrefixFold(value, l.Words):
		return fmt.Errorf("begins with %q, which AWS reserves", l.Words)
	case l.Kind == Format && !l.Pattern().MatchString(value):
		return fmt.Errorf("is not %s", l.Words)
	case l.Kind == OneOf && !slices.Contains(l.Values, value):
		return fmt.Errorf("is none of %q", l.Values)
	}
	return nil
}

// number checks a number against a limit of numbers.
func (l Limit) number(n int) error {
	switch {
	case l.Kind == MinNumber && n < l.Number:
		return fmt.Errorf("is less than %d%s", l.Number, l.words())
	case l.Kind == MaxNumber && n > l.Number:
		return fmt.Errorf("is more than %d%s", l.Number, l.words())
	case l.Kind == MultipleOf && n%l.Number != 0:
		return fmt.Errorf("is not a multiple of %d", l.Number)
	}
	return nil
}

// count checks the length of a list against a limit of lists.
func (l Limit) count(n int) error {
	if l.Kind == MaxCount && n > l.Number {
		return fmt.Errorf("%d %s, AWS allows %d", n, l.Words, l.Number)
	}
	return nil
}

// time checks a time against a limit of times.
func (l Limit) time(at, now time.Time) error {
	switch {
	case l.Kind == Future && !at.After(now):
		return fmt.Errorf("is not in the future")
	case l.Kind == MaxYears && at.After(now.AddDate(l.Number, 0, 0)):
		return fmt.Errorf("is more than %d years from now", l.Number)
	}
	return nil
}

// words returns the words that follow the number of a limit in a message.
func (l Limit) words() string {
	if l.Words == "" {
		return ""
	}
	return ", " + l.Words
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func hasPrefixFold(value, prefix string) bool {
	return len(value) >= len(prefix) && strings.EqualFold(value[:len(prefix)], prefix)
}

// pattern returns a function that compiles a regular expression at its first call. Packer starts the plugin several
// times for each build, and most starts check no limit.
func pattern(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
