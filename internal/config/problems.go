// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
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

// template judges a text that is rendered for each destination. A secret is not shown.
func (p *diagnostics) template(field, text string, secret bool) {
	switch err := distribution.Text(text).Check(); {
	case err != nil && secret:
		p.add(field, "the template cannot be read")
	case err != nil:
		p.add(field, "the template cannot be read: %v", err)
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

// oneOf checks a value of which there are few.
func (p *diagnostics) oneOf(field, value string, all []string) {
	if literal(value) && !slices.Contains(all, value) {
		p.add(field, "%q is none of %q", value, all)
	}
}
