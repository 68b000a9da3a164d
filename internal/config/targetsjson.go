// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// readTargetsJSON adds the targets of targets_json to the list, and sets the path of every target for messages.
func (c *Config) readTargetsJSON(p *diagnostics) {
	for i := range c.Targets {
		c.Targets[i].path = index("target", i)
	}
	if c.TargetsJSON == "" ||
		strings.Contains(c.TargetsJSON, unknown) { // jsonencode writes it otherwise where it is within a value
		return
	}
	if len(c.Targets) > 0 {
		p.add("targets_json", "there are target blocks as well; give one of them")
		return
	}
	var elements []json.RawMessage
	if err := json.Unmarshal([]byte(c.TargetsJSON), &elements); err != nil {
		p.add("targets_json", "not a list in JSON, as jsonencode makes it")
		return
	}
	for i, element := range elements {
		path := index("targets_json", i)
		t, err := targetOf(element)
		if err != nil {
			p.add(path, "%v", err)
			continue
		}
		t.path = path
		c.Targets = append(c.Targets, t)
	}
}

// targetOf decodes a JSON object as Packer decodes a block with the same fields. Its errors contain no values, because
// some are external IDs.
func targetOf(object []byte) (t Target, _ error) {
	spec := hcldec.ObjectSpec(t.FlatMapstructure().HCL2Spec())
	value, err := ctyjson.Unmarshal(object, hcldec.ImpliedType(spec))
	var at cty.PathError
	if errors.As(err, &at) {
		return t, fmt.Errorf("%s%w%s", pathText(at.Path), err, optionMeant(err, hcldec.ImpliedType(spec), at.Path))
	}
	if err != nil {
		return t, err
	}
	return t, config.Decode(&t, &config.DecodeOpts{}, value)
}

// unsupportedOption matches the error of package cty for an option that a block does not have.
var unsupportedOption = regexp.MustCompile(`^unsupported attribute "([^"]+)"$`)

// optionMeant returns a "did you mean" question if the name of an option is misspelled.
func optionMeant(err error, block cty.Type, path cty.Path) string {
	found := unsupportedOption.FindStringSubmatch(err.Error())
	if found == nil {
		return ""
	}
	for _, step := range path {
		if attribute, ok := step.(cty.GetAttrStep); ok && block.IsObjectType() && block.HasAttribute(attribute.Name) {
			block = block.AttributeType(attribute.Name)
		}
		if _, ok := step.(cty.IndexStep); ok && block.IsCollectionType() {
			block = block.ElementType()
		}
	}
	if !block.IsObjectType() {
		return ""
	}
	return didYouMean(found[1], slices.Sorted(maps.Keys(block.AttributeTypes())))
}

// pathText returns a path in the form of messages: "assume_role[0].role_arn: ".
func pathText(path cty.Path) string {
	var text strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case cty.GetAttrStep:
			text.WriteString("." + step.Name)
		case cty.IndexStep:
			if step.Key.Type() == cty.Number {
				fmt.Fprintf(&text, "[%s]", step.Key.AsBigFloat().String())
			} else {
				fmt.Fprintf(&text, "[%q]", step.Key.AsString())
			}
		}
	}
	if text.Len() == 0 {
		return ""
	}
	return strings.TrimPrefix(text.String(), ".") + ": "
}
