// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/suggest"
)

// problems collects all that is wrong with a template, each with the path of its option.
type diagnostics struct {
	found *[]error
	path  string // "", or that of the block with a colon and a blank
	first *where // the partition named first: a run has one
}

// where is a partition and the option that names it.
type where struct{ partition, field string }

func newProblems() *diagnostics { return &diagnostics{found: new([]error), first: new(where)} }

// in is the same collection, for the options of a block.
func (p *diagnostics) in(block string) *diagnostics {
	return &diagnostics{found: p.found, path: p.path + block + ": ", first: p.first}
}

func (p *diagnostics) add(field, format string, args ...any) {
	*p.found = append(*p.found, fmt.Errorf("%s%s: "+format, append([]any{p.path, field}, args...)...))
}

// take adds what a judgement of its own has found.
func (p *diagnostics) take(err error) {
	var several *packersdk.MultiError
	if errors.As(err, &several) {
		*p.found = append(*p.found, several.Errors...)
		return
	}
	*p.found = append(*p.found, err)
}

// err is all of them together, or nil.
func (p *diagnostics) err() error {
	if len(*p.found) == 0 {
		return nil
	}
	return &packersdk.MultiError{Errors: *p.found}
}

// unknown is what Packer gives for a value that it does not have yet; it may stand within other text.
const unknown = "<unknown>"

// literal reports whether a value can be judged as it stands: it is there, known, and no template.
func literal(value string) bool {
	return value != "" && !strings.Contains(value, unknown) && !strings.Contains(value, "{{")
}

func index(field string, i int) string        { return fmt.Sprintf("%s[%d]", field, i) }
func element(field, key string) string        { return fmt.Sprintf("%s[%q]", field, key) }
func sorted(texts map[string]string) []string { return slices.Sorted(maps.Keys(texts)) }

// text checks a text that is rendered for each destination.
func (p *diagnostics) text(field, text string) { p.template(field, text, distribution.DestinationVars) }

// template checks a text with the variables that are known where it is rendered. The error does not show the text, which may be secret.
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

// region judges the name of a Region, and that all are of one partition.
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

// partition judges that all partitions are one: nothing is copied from one into another.
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

// oneOf checks an option that has a few values.
func (p *diagnostics) oneOf(field, value string, all ...string) {
	if !literal(value) || slices.Contains(all, value) {
		return
	}
	quoted := make([]string, len(all))
	for i, one := range all {
		quoted[i] = strconv.Quote(one)
	}
	last := len(quoted) - 1
	p.add(field, "%q is not a value of this option; give %s or %s%s", value, strings.Join(quoted[:last], ", "), quoted[last], didYouMean(value, all))
}

// didYouMean returns a question with the most similar name, or nothing.
func didYouMean(name string, known []string) string {
	closest := suggest.Closest(name, known)
	if closest == "" {
		return ""
	}
	return fmt.Sprintf(". Did you mean %q?", closest)
}
