// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/dynblock"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
)

// decoded decodes the body of a block as Packer does: with the spec, expanded dynamic blocks, and placeholders for
// unknown values.
func decoded(t *testing.T, body string, variables map[string]cty.Value) cty.Value {
	t.Helper()
	file, diags := hclparse.NewParser().ParseHCL([]byte(body), "template.pkr.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	eval := &hcl.EvalContext{Variables: variables}
	spec := hcldec.ObjectSpec((&config.Config{}).FlatMapstructure().HCL2Spec())
	value, diags := hcldec.Decode(dynblock.Expand(file.Body, eval), spec, eval)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return placeholders(value)
}

// placeholders replaces unknown values by Packer's placeholders (packer's hcl2template/shim, values.go).
func placeholders(value cty.Value) cty.Value {
	out, _ := cty.Transform(value, func(_ cty.Path, v cty.Value) (cty.Value, error) {
		switch ty := v.Type(); {
		case v.IsKnown():
			return v, nil
		case ty == cty.String:
			return cty.StringVal("<unknown>"), nil
		case ty == cty.Number:
			return cty.NumberIntVal(0), nil
		case ty == cty.Bool:
			return cty.False, nil
		case ty.IsListType():
			return cty.ListValEmpty(ty.ElementType()), nil
		case ty.IsMapType():
			return cty.MapValEmpty(ty.ElementType()), nil
		}
		return v, errors.New("no stand-in for " + v.GoString())
	})
	return out
}

// packer holds the packer_* settings, which Packer passes to Configure together with the options of the block.
var packer = map[string]any{
	"packer_build_name":     "golden",
	"packer_builder_type":   "virtualbox-iso",
	"packer_user_variables": map[string]string{},
}

func prepare(t *testing.T, body string, variables map[string]cty.Value) (*config.Config, error) {
	t.Helper()
	c := new(config.Config)
	return c, c.Prepare(packer, decoded(t, body, variables))
}
