// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
)

// echo returns a world whose runs show the options of their template.
func echo(cases ...Case) World {
	return World{Name: "echo", Cases: cases, Run: func(_ *testing.T, change func(map[string]any)) Outcome {
		template := map[string]any{"region": "eu-west-1", "target": []any{map[string]any{"name": "prod"}}}
		change(template)
		return Outcome{Seen: []string{fmt.Sprint(template["region"]), fmt.Sprint(template["target"])}}
	}}
}

var spec = hcldec.ObjectSpec{
	"packer_debug": &hcldec.AttrSpec{Name: "packer_debug"},
	"region":       &hcldec.AttrSpec{Name: "region"},
	"target": &hcldec.BlockListSpec{
		TypeName: "target",
		Nested:   hcldec.ObjectSpec{"name": &hcldec.AttrSpec{Name: "name"}},
	},
	"assume_role": &hcldec.BlockSpec{
		TypeName: "assume_role",
		Nested:   hcldec.ObjectSpec{"tags": &hcldec.AttrSpec{Name: "tags"}},
	},
}

func TestGaps(t *testing.T) {
	worlds := []World{
		echo(Case{Option: "region"}, Case{Option: "target.name"}, Case{Option: "target"}, Case{Option: "targets"}),
	}
	want := []string{
		"echo: there is no option targets",
		"assume_role has no case that leaves it out",
		"assume_role.tags has no case that leaves it out",
	}
	if got := gaps(spec, worlds); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheck_nestedOptions(t *testing.T) {
	Check(t, hcldec.ObjectSpec{"region": spec["region"], "target": spec["target"]}, []World{
		echo(
			Case{Option: "region"},
			Case{Option: "region", Value: "us-east-1"},
			Case{Option: "target"},
			Case{Option: "target.name", Value: "lab"},
		),
	})
}

func TestCase_problems(t *testing.T) {
	const (
		noEffect   = "leaving it out changes nothing that a user or AWS can see"
		unexpected = `without it the run ends with "no such key", want ""`
		otherError = `with it the run ends with "no such key", want "role"`
		noError    = `with it the run ends with "", want "key"`
	)
	seen := func(lines ...string) Outcome { return Outcome{Seen: lines} }
	passedOn := Outcome{PassedOn: []string{"a"}}
	both := Outcome{Seen: []string{"a"}, PassedOn: []string{"a"}}
	failed := Outcome{Err: errors.New("no such key")}
	for _, row := range []struct {
		name          string
		c             Case
		with, without Outcome
		want          string // empty if there is no problem
	}{
		{"something changes", Case{}, seen("a"), seen("b"), ""},
		{"something happens less often", Case{}, seen("a", "a"), seen("a"), ""},
		{"nothing changes but the order", Case{}, seen("a", "b"), seen("b", "a"), noEffect},
		{"nothing is seen of what is passed on", Case{}, passedOn, Outcome{}, noEffect},
		{"it has no effect", Case{NoEffect: true}, seen("a"), seen("a"), ""},
		{"it has an effect after all", Case{NoEffect: true}, seen("a"), seen("b"), "it has an effect"},
		{"it is passed on", Case{PassedOn: true}, passedOn, Outcome{}, ""},
		{"it is not passed on", Case{PassedOn: true}, Outcome{}, Outcome{}, "it is not passed on"},
		{"it is seen too", Case{PassedOn: true}, both, Outcome{}, "it is more than passed on"},
		{"unexpected error", Case{}, Outcome{}, failed, unexpected},
		{"expected error", Case{Without: "key"}, Outcome{}, failed, ""},
		{"other error", Case{With: "role"}, failed, Outcome{}, otherError},
		{"no error", Case{With: "key"}, seen("a"), Outcome{}, noError},
		{"the same error twice", Case{With: "key", Without: "key"}, failed, failed, noEffect},
	} {
		var want []string
		if row.want != "" {
			want = []string{row.want}
		}
		if got := row.c.problems(row.with, row.without); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", row.name, got, want)
		}
	}
}
