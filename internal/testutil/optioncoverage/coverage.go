// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package optioncoverage tests that every option of a component has an effect: omitting it changes the outcome of a
// run.
package optioncoverage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
)

// World is a simulated AWS with a template that runs in it.
type World struct {
	Name string

	// Run creates the same world each time, changes the template with change, and executes it.
	Run   Run
	Cases []Case
}

// Run runs the template of a World.
type Run = func(t *testing.T, change func(template map[string]any)) Outcome

// Outcome is what a user or AWS can see of a run.
type Outcome struct {
	Err      error
	Seen     []string // calls, screen lines, artifact, files and outputs, in any order
	PassedOn []string // options that go to another component unchanged
}

// Case is an option that is omitted from the template of a world.
type Case struct {
	Option        string // path: "target.ssm_parameter.key_id"; in the first of repeated blocks
	Value         any    // if nil, the value in the template
	With, Without string // part of the error; empty if the run succeeds
	PassedOn      bool   // it changes Outcome.PassedOn only
	NoEffect      bool   // it is accepted and changes nothing, as documented
}

// Check fails the test unless every option has a case, every case has an option, and omitting it changes the outcome.
// Each case is a subtest that logs the difference.
func Check(t *testing.T, spec hcldec.ObjectSpec, worlds []World) {
	for _, gap := range gaps(spec, worlds) {
		t.Error(gap)
	}
	for _, w := range worlds {
		t.Run(w.Name, w.check)
	}
}

// gaps returns options without a case, and cases without an option.
func gaps(spec hcldec.ObjectSpec, worlds []World) (found []string) {
	tried := map[string]bool{}
	options := paths(spec, "")
	for _, w := range worlds {
		for _, c := range w.Cases {
			tried[c.Option] = true
			if !slices.Contains(options, c.Option) {
				found = append(found, fmt.Sprintf("%s: there is no option %s", w.Name, c.Option))
			}
		}
	}
	for _, option := range options {
		if !tried[option] {
			found = append(found, option+" has no case that leaves it out")
		}
	}
	return found
}

// paths returns the options of a block, sorted, without those that Packer adds.
func paths(spec hcldec.ObjectSpec, within string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		if strings.HasPrefix(name, "packer_") {
			continue
		}
		all = append(all, within+name)
		switch block := spec[name].(type) {
		case *hcldec.BlockSpec:
			all = append(all, paths(block.Nested.(hcldec.ObjectSpec), within+name+".")...)
		case *hcldec.BlockListSpec:
			all = append(all, paths(block.Nested.(hcldec.ObjectSpec), within+name+".")...)
		}
	}
	return all
}

func (w World) check(t *testing.T) {
	inTemplate := map[string]bool{}
	plain := w.Run(t, func(template map[string]any) {
		for _, c := range w.Cases {
			block, name := findOption(t, template, c.Option)
			_, inTemplate[c.Option] = block[name]
		}
	})
	if lines := difference(plain.lines(), w.Run(t, func(map[string]any) {}).lines()); len(lines) > 0 {
		t.Fatalf("two runs of one template differ, so that a difference means nothing:\n%s", strings.Join(lines, "\n"))
	}
	for _, c := range w.Cases {
		t.Run(c.Option, func(t *testing.T) {
			with, without := plain, plain
			if c.Value != nil {
				with = w.Run(t, func(template map[string]any) {
					block, name := findOption(t, template, c.Option)
					block[name] = c.Value
				})
			}
			if inTemplate[c.Option] {
				without = w.Run(t, func(template map[string]any) {
					block, name := findOption(t, template, c.Option)
					delete(block, name)
				})
			}
			for _, problem := range c.problems(with, without) {
				t.Error(problem)
			}
			diff := slices.Concat(
				difference(with.lines(), without.lines()),
				difference(with.PassedOn, without.PassedOn),
			)
			t.Logf("without it:\n%s", strings.Join(diff, "\n"))
		})
	}
}

// findOption returns the block of an option and its name in the block. It clones the block, so that a change affects
// one run only.
func findOption(t *testing.T, template map[string]any, option string) (block map[string]any, name string) {
	t.Helper()
	blocks := strings.Split(option, ".")
	block, name = template, blocks[len(blocks)-1]
	for _, within := range blocks[:len(blocks)-1] {
		switch inner := block[within].(type) {
		case map[string]any:
			inner = maps.Clone(inner)
			block[within], block = inner, inner
		case []any:
			inner = slices.Clone(inner)
			first := maps.Clone(inner[0].(map[string]any))
			inner[0] = first
			block[within], block = inner, first
		default:
			t.Fatalf("%s: the template has no %s", option, within)
		}
	}
	return block, name
}

// problems returns what differs from the expectation of the case.
func (c Case) problems(with, without Outcome) (found []string) {
	for _, run := range []struct {
		kind, want string
		err        error
	}{{"with", c.With, with.Err}, {"without", c.Without, without.Err}} {
		if !isExpected(run.err, run.want) {
			found = append(found, fmt.Sprintf("%s it the run ends with %q, want %q", run.kind, errorText(run.err), run.want))
		}
	}

	isSeen := len(difference(with.lines(), without.lines())) > 0
	isPassedOn := len(difference(with.PassedOn, without.PassedOn)) > 0
	switch {
	case c.NoEffect && (isSeen || isPassedOn):
		found = append(found, "it has an effect")
	case c.NoEffect:
	case !c.PassedOn && !isSeen:
		found = append(found, "leaving it out changes nothing that a user or AWS can see")
	case c.PassedOn && !isPassedOn:
		found = append(found, "it is not passed on")
	case c.PassedOn && isSeen:
		found = append(found, "it is more than passed on")
	}
	return found
}

// isExpected reports whether an error contains a text. An empty text means no error.
func isExpected(err error, text string) bool {
	if text == "" || err == nil {
		return text == "" && err == nil
	}
	return strings.Contains(err.Error(), text)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lines returns everything that a user or AWS sees.
func (o Outcome) lines() []string {
	all := slices.Clone(o.Seen)
	for line := range strings.Lines(errorText(o.Err)) {
		all = append(all, "error: "+strings.TrimSpace(line))
	}
	return all
}

// difference returns the lines that one list has more often than the other, marked with - and +.
func difference(one, other []string) (lines []string) {
	more := map[string]int{}
	for _, line := range one {
		more[line]++
	}
	for _, line := range other {
		more[line]--
	}
	for _, line := range slices.Sorted(maps.Keys(more)) {
		if more[line] > 0 {
			lines = append(lines, "- "+line)
		} else if more[line] < 0 {
			lines = append(lines, "+ "+line)
		}
	}
	return lines
}
