// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package options holds a component of the plugin to a promise: leaving an option out of a template changes what comes of it.
package optioncoverage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
)

// World is a simulated AWS with a template that is run in it.
type World struct {
	Name string
	// Run makes the world, always the same, lets change change the template, as Packer hands it over, and runs it.
	Run   Run
	Cases []Case
}

// Run is what a World does.
type Run = func(t *testing.T, change func(template map[string]any)) Outcome

// Outcome is what a user or AWS can see of a run.
type Outcome struct {
	Err      error
	Seen     []string // one thing each, in any order: calls, lines of the screen, artifact, files, outputs
	HandedOn []string // what goes to another component as it was given
}

// Case is an option that stands in the template of its world, and is left out.
type Case struct {
	Option        string // its path: "target.ssm_parameter.key_id"; of repeated blocks, that in the first one
	Value         any    // nil: as the world's template has it
	With, Without string // in the error that the run ends with; "": it succeeds
	HandedOn      bool   // it changes what is handed on, and nothing else
}

// Hold fails the test unless every option of a component has a case, every case an option, and leaving that out changes the outcome. Each is a test of
// its own, whose log has what is then otherwise.
func Hold(t *testing.T, spec hcldec.ObjectSpec, worlds []World) {
	for _, gap := range gaps(spec, worlds) {
		t.Error(gap)
	}
	for _, w := range worlds {
		t.Run(w.Name, w.hold)
	}
}

// gaps are options without a case, and cases without an option.
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

// paths are the options of a block, sorted, each before those within it. What Packer itself adds is none.
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

func (w World) hold(t *testing.T) {
	stands := map[string]bool{} // what the template has by itself
	plain := w.Run(t, func(template map[string]any) {
		for _, c := range w.Cases {
			block, name := place(t, template, c.Option)
			_, stands[c.Option] = block[name]
		}
	})
	if lines := apart(plain.lines(), w.Run(t, func(map[string]any) {}).lines()); len(lines) > 0 {
		t.Fatalf("two runs of one template differ, so that a difference means nothing:\n%s", strings.Join(lines, "\n"))
	}
	for _, c := range w.Cases {
		t.Run(c.Option, func(t *testing.T) {
			with, without := plain, plain
			if c.Value != nil {
				with = w.Run(t, func(template map[string]any) {
					block, name := place(t, template, c.Option)
					block[name] = c.Value
				})
			}
			if stands[c.Option] {
				without = w.Run(t, func(template map[string]any) {
					block, name := place(t, template, c.Option)
					delete(block, name)
				})
			}
			for _, trouble := range c.troubles(with, without) {
				t.Error(trouble)
			}
			t.Logf("without it:\n%s", strings.Join(append(apart(with.lines(), without.lines()), apart(with.HandedOn, without.HandedOn)...), "\n"))
		})
	}
}

// place is the block of an option in a template, which nobody else has any more, and the option's name in it.
func place(t *testing.T, template map[string]any, option string) (block map[string]any, name string) {
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

// troubles are what is not as the case says.
func (c Case) troubles(with, without Outcome) (found []string) {
	for _, run := range []struct {
		kind, fails string
		err         error
	}{{"with", c.With, with.Err}, {"without", c.Without, without.Err}} {
		if run.fails == "" && run.err != nil || run.fails != "" && (run.err == nil || !strings.Contains(run.err.Error(), run.fails)) {
			found = append(found, fmt.Sprintf("%s it the run ends with %q, want %q", run.kind, errorText(run.err), run.fails))
		}
	}
	seen, handed := len(apart(with.lines(), without.lines())) > 0, len(apart(with.HandedOn, without.HandedOn)) > 0
	switch {
	case !c.HandedOn && !seen:
		found = append(found, "leaving it out changes nothing that a user or AWS can see")
	case c.HandedOn && !handed:
		found = append(found, "it is not handed on")
	case c.HandedOn && seen:
		found = append(found, "it is more than handed on")
	}
	return found
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lines are all that is seen.
func (o Outcome) lines() []string {
	all := slices.Clone(o.Seen)
	for line := range strings.Lines(errorText(o.Err)) {
		all = append(all, "error: "+strings.TrimSpace(line))
	}
	return all
}

// apart are the lines that one of two has more often than the other, marked with - and +.
func apart(one, other []string) (lines []string) {
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
