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

// echo is a world in which a run shows the options of its template.
func echo(cases ...Case) World {
	return World{Name: "echo", Cases: cases, Run: func(t *testing.T, change func(map[string]any)) Outcome {
		template := map[string]any{"region": "eu-west-1", "target": []any{map[string]any{"name": "prod"}}}
		change(template)
		return Outcome{Seen: []string{fmt.Sprint(template["region"]), fmt.Sprint(template["target"])}}
	}}
}

var spec = hcldec.ObjectSpec{
	"packer_debug": &hcldec.AttrSpec{Name: "packer_debug"},
	"region":       &hcldec.AttrSpec{Name: "region"},
	"target":       &hcldec.BlockListSpec{TypeName: "target", Nested: hcldec.ObjectSpec{"name": &hcldec.AttrSpec{Name: "name"}}},
	"assume_role":  &hcldec.BlockSpec{TypeName: "assume_role", Nested: hcldec.ObjectSpec{"tags": &hcldec.AttrSpec{Name: "tags"}}},
}

func TestAnOptionWithoutACaseIsTold(t *testing.T) {
	worlds := []World{echo(Case{Option: "region"}, Case{Option: "target.name"}, Case{Option: "target"}, Case{Option: "targets"})}
	want := []string{"echo: there is no option targets", "assume_role has no case that leaves it out", "assume_role.tags has no case that leaves it out"}
	if got := gaps(spec, worlds); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestOptionsAreSetAndLeftOutWhereverTheyStand(t *testing.T) {
	Hold(t, hcldec.ObjectSpec{"region": spec["region"], "target": spec["target"]}, []World{
		echo(Case{Option: "region"}, Case{Option: "region", Value: "us-east-1"}, Case{Option: "target"}, Case{Option: "target.name", Value: "lab"})})
}

func TestACaseTellsWhatIsNotAsItSays(t *testing.T) {
	failed := errors.New("no such key")
	for _, row := range []struct {
		name          string
		c             Case
		with, without Outcome
		want          []string
	}{
		{"something changes", Case{}, Outcome{Seen: []string{"a"}}, Outcome{Seen: []string{"b"}}, nil},
		{"something happens less often", Case{}, Outcome{Seen: []string{"a", "a"}}, Outcome{Seen: []string{"a"}}, nil},
		{"nothing changes but the order", Case{}, Outcome{Seen: []string{"a", "b"}}, Outcome{Seen: []string{"b", "a"}}, []string{"leaving it out changes nothing that a user or AWS can see"}},
		{"nothing is seen of what is handed on", Case{}, Outcome{HandedOn: []string{"a"}}, Outcome{}, []string{"leaving it out changes nothing that a user or AWS can see"}},
		{"it is handed on", Case{HandedOn: true}, Outcome{HandedOn: []string{"a"}}, Outcome{}, nil},
		{"it is not handed on", Case{HandedOn: true}, Outcome{}, Outcome{}, []string{"it is not handed on"}},
		{"it is seen as well", Case{HandedOn: true}, Outcome{Seen: []string{"a"}, HandedOn: []string{"a"}}, Outcome{}, []string{"it is more than handed on"}},
		{"it fails unsaid", Case{}, Outcome{}, Outcome{Err: failed}, []string{`without it the run ends with "no such key", want ""`}},
		{"it fails as said", Case{Without: "key"}, Outcome{}, Outcome{Err: failed}, nil},
		{"it fails otherwise", Case{With: "role"}, Outcome{Err: failed}, Outcome{}, []string{`with it the run ends with "no such key", want "role"`}},
		{"it does not fail", Case{With: "key"}, Outcome{Seen: []string{"a"}}, Outcome{}, []string{`with it the run ends with "", want "key"`}},
		{"both fail alike", Case{With: "key", Without: "key"}, Outcome{Err: failed}, Outcome{Err: failed}, []string{"leaving it out changes nothing that a user or AWS can see"}},
	} {
		if got := row.c.troubles(row.with, row.without); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}
