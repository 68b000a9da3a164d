// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/mitchellh/mapstructure"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/suggest"
)

// diagnostics collects all problems of a template, each with the path of its option.
type diagnostics struct {
	found *[]error
	path  string // "", or the path of the block and ": "
	first *where // where a partition is named first. All Regions of a run must be in it
}

// where is a partition and the option that names it.
type where struct{ partition, field string }

func newProblems() *diagnostics { return &diagnostics{found: new([]error), first: new(where)} }

// in returns the same diagnostics with a prefix for the options of a block.
func (p *diagnostics) in(block string) *diagnostics {
	return &diagnostics{found: p.found, path: p.path + block + ": ", first: p.first}
}

func (p *diagnostics) add(field, format string, args ...any) {
	*p.found = append(*p.found, fmt.Errorf("%s%s: "+format, append([]any{p.path, field}, args...)...))
}

// take adds the errors of another check. Nil adds none.
func (p *diagnostics) take(err error) {
	if err == nil {
		return
	}
	errs := []error{err}
	if several, ok := errors.AsType[*packersdk.MultiError](err); ok {
		errs = several.Errors
	} else if several, ok := errors.AsType[*multierror.Error](err); ok {
		errs = several.Errors
	} else if several, ok := errors.AsType[*mapstructure.Error](err); ok {
		errs = several.WrappedErrors()
	}
	for _, err := range errs {
		*p.found = append(*p.found, explainDecoding(err))
	}
}

var (
	// unknownKey matches the error of the SDK for an option of a template in JSON that does not exist.
	unknownKey = regexp.MustCompile(`^unknown configuration key: '"(.*)"'`)

	// failedDecoding matches the error of package mapstructure for a value that has another type.
	failedDecoding = regexp.MustCompile(`^error decoding '([^']*)': `)
)

// explainDecoding returns an error in the form of this package, which begins with the option.
func explainDecoding(err error) error {
	text := err.Error()
	if found := unknownKey.FindStringSubmatch(text); found != nil {
		block, name := "", found[1]
		if i := strings.LastIndex(name, "."); i >= 0 {
			block, name = name[:i+1], name[i+1:]
		}
		return fmt.Errorf("%s%s: there is no such option%s", block, name, didYouMean(name, optionNames()))
	}
	if found := failedDecoding.FindStringSubmatch(text); found != nil {
		return fmt.Errorf("%s: %s", found[1], text[len(found[0]):])
	}
	return err
}

// optionNames returns the names of all options, at the top level and in blocks.
func optionNames() []string {
	var names []string
	for _, block := range []hcldec.ObjectSpec{
		new(Config).FlatMapstructure().HCL2Spec(),
		new(Target).FlatMapstructure().HCL2Spec(),
		new(Share).FlatMapstructure().HCL2Spec(),
		new(AssumeRole).FlatMapstructure().HCL2Spec(),
	} {
		for name := range block {
			if !strings.HasPrefix(name, "packer_") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// err returns all errors as one. Nil if there are none.
func (p *diagnostics) err() error {
	if len(*p.found) == 0 {
		return nil
	}
	return &packersdk.MultiError{Errors: *p.found}
}

// unknown is the text that Packer passes for an unknown value. It may be part of other text.
const unknown = "<unknown>"

// literal reports whether a value can be checked as it is: it is set, known, and not a template.
func literal(value string) bool {
	return value != "" && !strings.Contains(value, unknown) && !strings.Contains(value, "{{")
}

func index(field string, i int) string        { return fmt.Sprintf("%s[%d]", field, i) }
func element(field, key string) string        { return fmt.Sprintf("%s[%q]", field, key) }
func sorted(texts map[string]string) []string { return slices.Sorted(maps.Keys(texts)) }

// text checks a text that is rendered for each destination.
func (p *diagnostics) text(field, text string) { p.template(field, text, distribution.DestinationVars) }

// template checks a text with the variables that are available where it is rendered. The error does not show the text,
// which may be secret.
func (p *diagnostics) template(field, text string, variables []string) {
	if err := distribution.Text(text).Check(variables); err != nil {
		p.add(field, "%w", err)
	}
}

// texts checks the values of tags.
func (p *diagnostics) texts(field string, texts map[string]string) {
	for _, key := range sorted(texts) {
		p.text(element(field, key), texts[key])
	}
}

// region checks the name of a Region, and that all Regions are in one partition.
func (p *diagnostics) region(field, region string) {
	if !literal(region) {
		return
	}
	partition := distribution.PartitionOf(region)
	if err := awslimits.Check(awslimits.Region, region); err != nil || partition == "" {
		p.add(field, "%q is not the name of a Region, such as eu-west-1", region)
		return
	}
	p.partition(field, partition)
}

// partition checks that there is only one partition, because nothing can be copied from one into another.
func (p *diagnostics) partition(field, partition string) {
	switch p.first.partition {
	case "":
		*p.first = where{partition, p.path + field}
	case partition:
	default:
		p.add(
			field,
			"the partition is %s, but that of %s is %s: nothing can be copied between partitions",
			partition,
			p.first.field,
			p.first.partition,
		)
	}
}

// oneOf checks an option with a fixed set of values.
func (p *diagnostics) oneOf(field, value string, all ...string) {
	if !literal(value) || slices.Contains(all, value) {
		return
	}
	quoted := make([]string, len(all))
	for i, one := range all {
		quoted[i] = strconv.Quote(one)
	}
	last := len(quoted) - 1
	p.add(
		field,
		"%q is not a value of this option; give %s or %s%s",
		value,
		strings.Join(quoted[:last], ", "),
		quoted[last],
		didYouMean(value, all),
	)
}

// didYouMean returns a "did you mean" question with the most similar known name. Empty if none is similar.
func didYouMean(name string, known []string) string {
	closest := suggest.Closest(name, known)
	if closest == "" {
		return ""
	}
	return fmt.Sprintf(". Did you mean %q?", closest)
}
