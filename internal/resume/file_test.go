// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package resume_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/resume"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// checkCommands fails the test unless the commands have the flags before the path: Packer takes none after it.
func checkCommands(t *testing.T, variables []resume.Variable, flags string) {
	t.Helper()
	const path = "encrypted-ami/ami 0a/resume.pkr.hcl"
	if got, want := resume.Command(path, variables), "packer build "+flags+` "`+path+`"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want := "packer build -var mode=cleanup " + flags + ` "` + path + `"`
	if got := resume.CleanupCommand(path, variables); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// sample returns the file of a run with two targets.
func sample() resume.File {
	target := func(name, account, externalID string) map[string]any {
		return map[string]any{
			"name":        name,
			"account_ids": []any{account},
			"kms_key_id":  "alias/golden-target",
			"ami_name":    "golden-{{timestamp}}",
			"regions":     []any{},
			"required":    nil,
			"assume_role": []any{map[string]any{
				"role_arn":    "arn:aws:iam::" + account + ":role/golden-image-target",
				"external_id": externalID,
			}},
			"tags": map[string]any{"Team": "a ${quoted} \"team\""},
		}
	}
	return resume.File{
		Path:            "encrypted-ami/ami-0b47b874afd5e38c6/resume.pkr.hcl",
		PluginVersion:   "0.1.0",
		Started:         time.Date(2026, 12, 1, 9, 12, 3, 0, time.UTC),
		RunID:           "5d3c8a52-8f0e-4c0b-9a41-2f1e7f6f0a11",
		SourceAccountID: "111111111111",
		BaseAMI:         "ami-01fc9bc8191afb057",
		BuildName:       "golden",
		OutputDirectory: "encrypted-ami/ami-0b47b874afd5e38c6",
		Images:          []distribution.SourceImage{{Region: "ap-northeast-1", ImageID: "ami-0b47b874afd5e38c6"}},
		Spec:            config.Spec(),
		Options: map[string]any{
			"packer_build_name": "golden",
			"mode":              "distribute",
			"kms_key_id":        "alias/golden-source",
			"access_key":        "AKIAHUSH",
			"secret_key":        "hush-secret-key",
			"timeout":           "3h",
			"target": []any{
				target("prod", "999999999999", "hush-external"),
				target("staging", "888888888888", "hush-external"),
				target("lab", "777777777777", "hush-lab"),
			},
		},
		Getenv: func(string) string { return "" },
	}
}

func TestContent_golden(t *testing.T) {
	content, variables := sample().Content()
	golden.Equal(t, "testdata/resume.pkr.hcl.golden", string(content))
	checkCommands(t, variables, "-var external_id=EXTERNAL_ID -var external_id_2=EXTERNAL_ID_2")
}

func TestContent_noSecret(t *testing.T) {
	content, _ := sample().Content()
	for _, secret := range []string{"hush", "AKIA"} {
		if strings.Contains(string(content), secret) {
			t.Errorf("got %q in\n%s", secret, content)
		}
	}
}

// A secret that a CI system passes to the build also works for the resumed run.
func TestContent_variableOfTheTemplate(t *testing.T) {
	f := sample()
	f.SensitiveVariables = []string{"mode", "other", "shared_secret"}
	environment := map[string]string{"PKR_VAR_shared_secret": "hush-external", "PKR_VAR_mode": "hush-lab"}
	f.Getenv = func(name string) string { return environment[name] }
	content, variables := f.Content()
	checkCommands(t, variables, "-var external_id=EXTERNAL_ID")
	if got := resume.UsedEnvironment(variables); got != "PKR_VAR_shared_secret" {
		t.Errorf("got %q as the variables of the environment", got)
	}
	if !strings.Contains(string(content), "# It uses PKR_VAR_shared_secret of the environment.\n") {
		t.Errorf("the header does not name the variable of the environment:\n%s", content)
	}
	if n := strings.Count(string(content), "= var.shared_secret"); n != 2 {
		t.Errorf("got %d uses of the variable, want 2:\n%s", n, content)
	}
}

func TestIdentify(t *testing.T) {
	content, _ := sample().Content()
	ami, run, ok := resume.Identify(content)
	if !ok || ami != "ami-0b47b874afd5e38c6" || run != "5d3c8a52-8f0e-4c0b-9a41-2f1e7f6f0a11" {
		t.Errorf("got %s, %s, %v", ami, run, ok)
	}
	if _, _, ok := resume.Identify([]byte("build {}\n")); ok {
		t.Error("a template of somebody else is taken for ours")
	}
}

// hostile has everything that HCL or a shell might evaluate.
const hostile = "a \"quoted\" ${path.cwd} %{ if true }x%{ endif } $${y} \\n {{ .AMI }} 'z' # c"

// fill returns a value for each option of a spec, with hostile text where there is text.
func fill(spec map[string]hcldec.Spec) map[string]any {
	options := map[string]any{}
	for name, one := range spec {
		switch one := one.(type) {
		case *hcldec.AttrSpec:
			switch {
			case one.Type == cty.String:
				options[name] = hostile
			case one.Type == cty.Bool:
				options[name] = false
			case one.Type == cty.Number:
				options[name] = 7.0
			case one.Type.IsListType():
				options[name] = []any{hostile, "b"}
			case one.Type.IsMapType():
				options[name] = map[string]any{hostile: hostile, "plain": "b"}
			}
		case *hcldec.BlockListSpec:
			nested := fill(one.Nested.(hcldec.ObjectSpec))
			options[name] = []any{nested, nested}
		case *hcldec.BlockSpec:
			options[name] = fill(one.Nested.(hcldec.ObjectSpec))
		}
	}
	return options
}

// parse returns the options of a file as Packer would pass them.
func parse(t *testing.T, content []byte, spec map[string]hcldec.Spec, variables map[string]cty.Value) map[string]any {
	t.Helper()
	file, diags := hclparse.NewParser().ParseHCL(content, "resume.pkr.hcl")
	if diags.HasErrors() {
		t.Fatalf("%v in\n%s", diags, content)
	}
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "packer"},
		{Type: "variable", LabelNames: []string{"name"}},
		{Type: "source", LabelNames: []string{"type", "name"}},
		{Type: "build"},
	}}
	top, diags := file.Body.Content(schema)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	build := top.Blocks.OfType("build")[0]
	inner, _, diags := build.Body.PartialContent(&hcl.BodySchema{
		Blocks: []hcl.BlockHeaderSchema{{Type: "post-processor", LabelNames: []string{"type"}}},
	})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	context := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(variables)}}
	value, diags := hcldec.Decode(inner.Blocks[0].Body, hcldec.ObjectSpec(spec), context)
	if diags.HasErrors() {
		t.Fatalf("%v in\n%s", diags, content)
	}
	text, err := ctyjson.SimpleJSONValue{Value: value}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var options map[string]any
	if err := json.Unmarshal(text, &options); err != nil {
		t.Fatal(err)
	}
	return options
}

// Every option of every block can be read back, whatever its text contains.
func TestContent_parsesBack(t *testing.T) {
	spec := config.Spec()
	own := []string{"mode", "existing_amis", "output_directory", "targets_json", "resume"}
	for _, name := range []string{"mode", "output_directory"} {
		spec[name] = &hcldec.AttrSpec{Name: name, Type: cty.String}
	}
	spec["existing_amis"] = &hcldec.AttrSpec{Name: "existing_amis", Type: cty.Map(cty.String)}
	spec["resume"] = &hcldec.BlockSpec{TypeName: "resume", Nested: hcldec.ObjectSpec{
		"run_id":            &hcldec.AttrSpec{Name: "run_id", Type: cty.String},
		"source_account_id": &hcldec.AttrSpec{Name: "source_account_id", Type: cty.String},
		"source_ami":        &hcldec.AttrSpec{Name: "source_ami", Type: cty.String},
		"build_name":        &hcldec.AttrSpec{Name: "build_name", Type: cty.String},
	}}

	f := sample()
	f.Options, f.BuildName = fill(config.Spec()), hostile
	delete(f.Options, "resume")
	content, variables := f.Content()
	values := map[string]cty.Value{"mode": cty.StringVal("distribute")}
	for _, v := range variables {
		values[v.Name] = cty.StringVal(hostile)
	}
	got := parse(t, content, spec, values)

	if name := got["resume"].(map[string]any)["build_name"]; name != hostile {
		t.Errorf("got the build name %q, want %q", name, hostile)
	}
	if images := got["existing_amis"]; !cmp.Equal(images, map[string]any{"ap-northeast-1": "ami-0b47b874afd5e38c6"}) {
		t.Errorf("got the AMIs %v", images)
	}
	want := maps.Clone(f.Options)
	for _, name := range own {
		delete(got, name)
		delete(want, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The elements of a JSON list of targets are written as blocks.
func TestContent_targetsJSON(t *testing.T) {
	f := sample()
	targets, err := json.Marshal(f.Options["target"])
	if err != nil {
		t.Fatal(err)
	}
	want, _ := f.Content()
	delete(f.Options, "target")
	f.Options["targets_json"] = string(targets)
	got, _ := f.Content()
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestContent_developmentVersion(t *testing.T) {
	f := sample()
	f.PluginVersion = ""
	content, _ := f.Content()
	if strings.Contains(string(content), ">= ") || !strings.Contains(string(content), "development version") {
		t.Errorf("got\n%s", content)
	}
}

// A JSON template reads its variables with a function that HCL2 does not have.
func TestRawOptions_userVariables(t *testing.T) {
	options := config.RawOptions(
		map[any]any{"packer_user_variables": map[any]any{"external_id": "hush"}, "packer_build_name": "golden"},
		map[any]any{"target": []any{map[any]any{"name": []byte("prod {{user `external_id`}} {{ .AccountId }}")}}},
	)
	want := map[string]any{"target": []any{map[string]any{"name": "prod hush {{ .AccountId }}"}}}
	if diff := cmp.Diff(want, options); diff != "" {
		t.Error(diff)
	}
	if names := slices.Sorted(maps.Keys(config.Spec())); slices.Contains(names, "packer_build_name") {
		t.Errorf("got %v", names)
	}
}
