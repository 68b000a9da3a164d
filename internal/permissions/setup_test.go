// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Accounts that were set up with the templates allow every run and launch that the policies allow.
func TestSetUp_allowsEveryRun(t *testing.T) {
	for name, policies := range map[string]func(*testing.T, Setup) map[string]string{
		"CloudFormation": byCloudFormation,
		"Terraform":      byTerraform,
	} {
		t.Run(name, func(t *testing.T) {
			problems := func(policies func(*testing.T, Setup) map[string]string) (text string) {
				synctest.Test(t, func(t *testing.T) { text = newSiteWith(t, policies).problems() })
				return text
			}
			got, want := problems(policies), problems(
				func(_ *testing.T, s Setup) map[string]string { return texts(s.Policies()) },
			)
			if got != want {
				t.Errorf("with the templates: %s\nwith the policies: %s", got, want)
			}
		})
	}
}

// With several source keys, each Region has its own. A single target account copies directly from the Region of the
// build, and still needs all of them where a build has images in several Regions.
func TestPolicies_everySourceKey(t *testing.T) {
	s := Example()
	s.SourceKeyARNs = append(s.SourceKeyARNs, "arn:aws:kms:us-west-2:"+s.SourceAccount+":key/second")
	named := 0
	for file, policy := range s.Policies() {
		for _, statement := range policy.Statement {
			first := slices.Contains(statement.Resource, s.SourceKeyARNs[0])
			if second := slices.Contains(statement.Resource, s.SourceKeyARNs[1]); first != second {
				t.Errorf("%s: statement %s names one of two keys: %v", file, statement.Sid, statement.Resource)
			}
			if first {
				named++
			}
		}
	}
	if named < 4 {
		t.Errorf("got %d statements that name the keys, want 4 or more", named)
	}
}

// No value of the example may stay in a user's policy. It could grant access to another account, or deny a needed
// permission.
func TestSetUp_noExampleValues(t *testing.T) {
	example, s := Example(), Setup{
		SourceAccount: "222222222222",
		BuildRole:     "packer",
		SourceKeyARNs: []string{"arn:aws:kms:eu-west-1:222222222222:key/0"},
		Targets:       []string{"333333333333"},
		TargetRole:    "copier",
		TargetAlias:   "alias/own",
		Parameter:     "/ours",
		Template:      "web",
		Users:         []string{"444444444444"},
		ExternalID:    "agreed",
	}
	for name, policies := range map[string]func(*testing.T, Setup) map[string]string{
		"CloudFormation": byCloudFormation,
		"Terraform":      byTerraform,
	} {
		for file, text := range policies(t, s) {
			for _, own := range []string{
				example.SourceAccount,
				example.Targets[0],
				example.Users[0],
				example.BuildRole,
				example.TargetRole,
				example.TargetAlias,
				example.ExternalID,
				home,
			} {
				if strings.Contains(text, own) {
					t.Errorf("%s: %s is left in %s", name, own, file)
				}
			}
		}
	}
}

func TestSetUp_parametersUsed(t *testing.T) {
	for name, text := range Templates() {
		var template struct{ Parameters map[string]any }
		if err := json.Unmarshal(text, &template); err != nil || len(template.Parameters) == 0 {
			t.Fatalf("%s has %d parameters: %v", name, len(template.Parameters), err)
		}
		for parameter := range template.Parameters {
			if !strings.Contains(string(text), `"Ref": "`+parameter+`"`) && !strings.Contains(string(text), "${"+parameter+"}") {
				t.Errorf("%s: nothing depends on %s", name, parameter)
			}
		}
	}
}

func TestSetUp_documented(t *testing.T) {
	for name, want := range Templates() {
		if got, err := os.ReadFile(filepath.Join("../../example/setup/cloudformation", name)); err != nil ||
			!bytes.Equal(got, want) {
			t.Errorf("%s is not what make generate makes: %v", name, err)
		}
	}
}

// byCloudFormation returns the policies that stacks of the templates have.
func byCloudFormation(t *testing.T, s Setup) map[string]string {
	target := s.Targets[0]
	inSource := map[string]any{
		"AWS::Partition": "aws",
		"AWS::AccountId": s.SourceAccount,
		"BuildRoleName":  s.BuildRole,
		"TargetRoleName": s.TargetRole,
		"TargetAccounts": []any{
			target,
		},
		"SharedAccounts": []any{target, s.Users[0]},
		"SourceKeyArns":  []any{s.SourceKeyARNs[0]},
	}
	inTarget := map[string]any{
		"AWS::Partition":  "aws",
		"AWS::AccountId":  target,
		"SourceAccount":   s.SourceAccount,
		"BuildRoleName":   s.BuildRole,
		"TargetRoleName":  s.TargetRole,
		"ExternalId":      s.ExternalID,
		"KeyAlias":        s.TargetAlias,
		"SourceKeyArns":   []any{s.SourceKeyARNs[0]},
		"WithAutoScaling": true,
		"Users":           []any{s.Users[0]},
	}
	policies := texts(s.Policies())
	for file, from := range map[string]struct {
		template string
		in       map[string]any
		path     []string
	}{
		"source-key.json":        {"source-key.json", inSource, []string{"Key", "Properties", "KeyPolicy"}},
		"build-role.json":        {"build-role.json", inSource, []string{"Policy", "Properties", "PolicyDocument"}},
		"target-key.json":        {"target-key.json", inTarget, []string{"Key", "Properties", "KeyPolicy"}},
		"target-role-trust.json": {"target-role.json", inTarget, []string{"Role", "Properties", "AssumeRolePolicyDocument"}},
		"target-role.json":       {"target-role.json", inTarget, []string{"Role", "Properties", "Policies"}},
	} {
		var template map[string]any
		if err := json.Unmarshal(Templates()[from.template], &template); err != nil {
			t.Fatal(err)
		}
		at := template["Resources"]
		for _, step := range from.path {
			at = at.(map[string]any)[step]
		}
		if inline, is := at.([]any); is {
			at = inline[0].(map[string]any)["PolicyDocument"]
		}
		text, err := json.Marshal(resolved(t, at, from.in))
		if err != nil {
			t.Fatal(err)
		}
		policies[file] = string(text)
	}
	return policies
}

// resolved returns a part of a template as CloudFormation resolves it, with values for parameters, pseudo parameters
// and conditions.
func resolved(t *testing.T, v any, values map[string]any) any {
	t.Helper()
	value := func(name string) any {
		if values[name] == nil {
			t.Fatalf("the template has no %q", name)
		}
		return values[name]
	}
	switch v := v.(type) {
	case map[string]any:
		if name, is := v["Ref"].(string); is {
			return value(name)
		}
		if text, is := v["Fn::Sub"].(string); is {
			return os.Expand(text, func(name string) string {
				if literal, is := strings.CutPrefix(name, "!"); is {
					return "${" + literal + "}"
				}
				return fmt.Sprint(value(name))
			})
		}
		if branches, is := v["Fn::If"].([]any); is && value(branches[0].(string)) == true {
			return resolved(t, branches[1], values)
		}
		all := map[string]any{}
		for name, member := range v {
			all[name] = resolved(t, member, values)
		}
		return all
	case []any:
		var all []any
		for _, member := range v {
			all = append(all, resolved(t, member, values))
		}
		return all
	}
	return v
}

// byTerraform returns the policies that the modules create.
func byTerraform(t *testing.T, s Setup) map[string]string {
	target := s.Targets[0]
	here := func(account string) cty.Value {
		return cty.ObjectVal(map[string]cty.Value{
			"aws_caller_identity": cty.ObjectVal(
				map[string]cty.Value{"here": cty.ObjectVal(map[string]cty.Value{"account_id": cty.StringVal(account)})},
			),
			"aws_partition": cty.ObjectVal(
				map[string]cty.Value{"here": cty.ObjectVal(map[string]cty.Value{"partition": cty.StringVal("aws")})},
			),
		})
	}
	source := locals(t, "../../example/setup/terraform/source", here(s.SourceAccount), map[string]cty.Value{
		"target_accounts": cty.ListVal([]cty.Value{cty.StringVal(target)}), "target_role": cty.StringVal(s.TargetRole),
		"share_accounts": cty.ListVal([]cty.Value{cty.StringVal(s.Users[0])}),
	})
	own := locals(t, "../../example/setup/terraform/target", here(target), map[string]cty.Value{
		"source_account":  cty.StringVal(s.SourceAccount),
		"build_role":      cty.StringVal(s.BuildRole),
		"external_id":     cty.StringVal(s.ExternalID),
		"ami_users":       cty.ListVal([]cty.Value{cty.StringVal(s.Users[0])}),
		"key_alias":       cty.StringVal(s.TargetAlias),
		"source_key_arns": cty.ListVal([]cty.Value{cty.StringVal(s.SourceKeyARNs[0])}),
	})
	policies := texts(s.Policies())
	for file, text := range map[string]cty.Value{
		"source-key.json":        source["key_policy"],
		"build-role.json":        source["build_policy"],
		"target-key.json":        own["key_policy"],
		"target-role-trust.json": own["trust_policy"],
		"target-role.json":       own["role_policy"],
	} {
		policies[file] = text.AsString()
	}
	return policies
}

// locals returns the local values of a module.
func locals(t *testing.T, module string, data cty.Value, variables map[string]cty.Value) map[string]cty.Value {
	t.Helper()
	parsed, problems := hclparse.NewParser().ParseHCLFile(filepath.Join(module, "main.tf"))
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	file := function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			text, err := os.ReadFile(args[0].AsString())
			return cty.StringVal(string(text)), err
		},
	})
	known := map[string]cty.Value{}
	for _, block := range parsed.Body.(*hclsyntax.Body).Blocks {
		if block.Type != "locals" {
			continue
		}
		for range block.Body.Attributes { // each may depend on others, in any order
			for name, attribute := range block.Body.Attributes {
				in := &hcl.EvalContext{
					Variables: map[string]cty.Value{
						"var": cty.ObjectVal(variables), "data": data, "local": cty.ObjectVal(known),
						"path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(module)}),
					},
					Functions: map[string]function.Function{
						"replace":    stdlib.ReplaceFunc,
						"join":       stdlib.JoinFunc,
						"concat":     stdlib.ConcatFunc,
						"formatlist": stdlib.FormatListFunc,
						"file":       file,
					},
				}
				if value, problems := attribute.Expr.Value(in); !problems.HasErrors() {
					known[name] = value
				}
			}
		}
		if len(known) != len(block.Body.Attributes) {
			t.Fatalf("%s: only %d of %d local values can be evaluated", module, len(known), len(block.Body.Attributes))
		}
	}
	return known
}
