// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

func TestTargetsJSON_everyField(t *testing.T) {
	for _, o := range options {
		if !strings.HasPrefix(o.option, "target.") {
			continue
		}
		options := decoded(t, o.body, nil)
		list, err := ctyjson.SimpleJSONValue{Value: options.GetAttr("target")}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		request := func(value cty.Value) distribution.Request {
			c := new(config.Config)
			if err := c.Prepare(packer, value); err != nil {
				t.Fatalf("%s: %v", o.option, err)
			}
			r, err := c.Request(images, distribution.Build{})
			if err != nil {
				t.Fatalf("%s: %v", o.option, err)
			}
			r.Targets[0].Name = strings.Replace(r.Targets[0].Name, "targets_json", "target", 1)
			return r
		}
		asJSON := options.AsValueMap()
		asJSON["target"], asJSON["targets_json"] = cty.ListValEmpty(
			options.GetAttr("target").Type().ElementType(),
		), cty.StringVal(string(list))
		if diff := cmp.Diff(request(options), request(cty.ObjectVal(asJSON)), sameFunctions); diff != "" {
			t.Errorf("%s: -block +JSON:\n%s", o.option, diff)
		}
	}
}

func TestTargetsJSON_errorNamesElement(t *testing.T) {
	var text strings.Builder
	for _, list := range []string{
		`{}`, `[1]`, `["x"`, ``,
		`[{"account_ids": ["999999999999"], "kms_key_id": "default"}, ` +
			`{"account_ids": ["888888888888"], "kms_key": "default"}]`,
		`[{"account_ids": "999999999999", "kms_key_id": "default"}]`,
		`[{"account_ids": ["999999999999"], "kms_key_id": "default", ` +
			`"assume_role": [{"role_arn": "arn:aws:iam::999999999999:role/x", "external_id": ["hush"]}]}]`,
		`[{"account_ids": ["999999999999"], "kms_key_id": "default", "assume_role": [{"role": "x", "external_id": "hush"}]}]`,
		`[{"name": "prod", "account_ids": [99999999], "kms_key_id": "alias/x{{ .Nothing }}"}, ` +
			`{"name": "prod", "account_ids": ["999999999999"], "kms_key_id": "default"}]`,
		`[{"account_ids": ["\u003cunknown\u003e"], "kms_key_id": "default"}]`,
	} {
		c := new(config.Config)
		err := c.Prepare(packer, map[string]any{"targets_json": list})
		if err == nil {
			_, err = c.Request(images, distribution.Build{})
		}
		if strings.Contains(fmt.Sprint(err), "hush") {
			t.Errorf("a secret is shown: %v", err)
		}
		fmt.Fprintf(&text, "# %s\n%v\n", strings.ReplaceAll(list, "hush", "..."), err)
	}
	golden.Equal(t, "testdata/targets_json.golden", text.String())
}

// Packer passes a placeholder for a list that it does not know yet.
func TestTargetsJSON_unknown(t *testing.T) {
	c, err := prepare(t, `targets_json = unknown`, unknownValues)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Request(
		images,
		distribution.Build{},
	); err == nil || !strings.Contains(err.Error(), "targets_json: no value") {
		t.Errorf("got %v", err)
	}
}

func TestTargetsJSON_threeHundred(t *testing.T) {
	elements := make([]string, 300)
	for i := range elements {
		elements[i] = fmt.Sprintf(
			`{
				"name": "account %d",
				"account_ids": ["%012d"],
				"assume_role": [{"role_name": "golden-image-target"}],
				"kms_key_id": "alias/golden-{{ .Region }}"
			}`,
			i,
			i,
		)
	}
	list := "[" + strings.Join(elements, ",") + "]"
	c := new(config.Config)
	if err := c.Prepare(packer, map[string]any{"targets_json": list}); err != nil {
		t.Fatal(err)
	}
	request, err := c.Request(images, distribution.Build{})
	if err != nil || len(request.Targets) != 300 || request.Targets[299].AccountIDs[0] != "000000000299" ||
		request.Targets[299].KMSKeyID != "alias/golden-{{ .Region }}" {
		t.Errorf("%d targets, %v", len(request.Targets), err)
	}
	if err := c.Prepare(
		packer,
		map[string]any{"targets_json": strings.Replace(list, `"000000000299"`, `"000000000298"`, 1)},
	); err != nil {
		t.Error(err) // only the plan, which knows the artifact's Regions, can find an account that is named twice
	}
	if err := c.Prepare(
		packer,
		map[string]any{"targets_json": strings.Replace(list, `account 299`, `account 298`, 1)},
	); err == nil || !strings.Contains(err.Error(), "\"account 298\" is the name of targets_json[298] too") {
		t.Errorf("a name given twice: %v", err)
	}
}
