// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package resume

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// ownOptions are options that the file sets from the state of the run, whatever the template says.
var ownOptions = []string{"mode", "existing_amis", "output_directory", "resume", "targets_json"}

// options returns the options without ownOptions, and with a variable in place of each secret. The targets of
// targets_json become target blocks.
func (f File) options() (map[string]any, []Variable) {
	options := maps.Clone(f.Options)
	if text, ok := options["targets_json"].(string); ok && text != "" {
		var targets []any
		if json.Unmarshal([]byte(text), &targets) == nil {
			options["target"] = targets
		}
	}
	for name := range options {
		if slices.Contains(ownOptions, name) || strings.HasPrefix(name, "packer_") {
			delete(options, name)
		}
	}
	return options, f.variables(options)
}

// writer writes options as HCL.
type writer struct {
	variables []Variable
}

// attributes writes the attributes of a block in alphabetical order. Options that are not set are left out.
func (w writer) attributes(body *hclwrite.Body, spec map[string]hcldec.Spec, options map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		attribute, ok := spec[name].(*hcldec.AttrSpec)
		value := options[name]
		if !ok || isUnset(value) {
			continue
		}
		if isSecret(name) {
			if v := w.variableOf(name, value); v != "" {
				body.SetAttributeTraversal(name, variable(v))
			}
			continue
		}
		body.SetAttributeValue(name, valueOf(value, attribute.Type))
	}
}

// blocks writes the nested blocks of a block.
func (w writer) blocks(body *hclwrite.Body, spec map[string]hcldec.Spec, options map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		nested, ok := nestedSpec(spec[name])
		if !ok {
			continue
		}
		for _, block := range blocksOf(options[name]) {
			body.AppendNewline()
			inner := body.AppendNewBlock(name, nil).Body()
			w.attributes(inner, nested, block)
			w.blocks(inner, nested, block)
		}
	}
}

// nestedSpec returns the spec of the options in a nested block. False for an attribute.
func nestedSpec(spec hcldec.Spec) (map[string]hcldec.Spec, bool) {
	var nested hcldec.Spec
	switch spec := spec.(type) {
	case *hcldec.BlockListSpec:
		nested = spec.Nested
	case *hcldec.BlockSpec:
		nested = spec.Nested
	}
	switch nested := nested.(type) {
	case hcldec.ObjectSpec:
		return nested, true
	case *hcldec.ObjectSpec:
		return *nested, true
	}
	return nil, false
}

// blocksOf returns the blocks of a value. A template in JSON may have one block without a list.
func blocksOf(value any) []map[string]any {
	switch value := value.(type) {
	case map[string]any:
		return []map[string]any{value}
	case []map[string]any:
		return value
	case []any:
		var blocks []map[string]any
		for _, element := range value {
			blocks = append(blocks, blocksOf(element)...)
		}
		return blocks
	}
	return nil
}

// isUnset reports whether a template did not set an option. An empty list means the same to Packer.
func isUnset(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case []any:
		return len(value) == 0
	case map[string]any:
		return len(value) == 0
	}
	return false
}

// valueOf returns a value in the type of its option. Templates in JSON may have numbers and booleans as text.
func valueOf(value any, wanted cty.Type) cty.Value {
	text, err := json.Marshal(value)
	if err != nil {
		return cty.NullVal(wanted)
	}
	if typed, err := ctyjson.Unmarshal(text, wanted); err == nil {
		return typed
	}
	implied, err := ctyjson.ImpliedType(text)
	if err != nil {
		return cty.NullVal(wanted)
	}
	loose, err := ctyjson.Unmarshal(text, implied)
	if err != nil {
		return cty.NullVal(wanted)
	}
	if typed, err := convert.Convert(loose, wanted); err == nil {
		return typed
	}
	return loose
}

// variable returns the expression var.NAME.
func variable(name string) hcl.Traversal {
	return hcl.Traversal{hcl.TraverseRoot{Name: "var"}, hcl.TraverseAttr{Name: name}}
}
