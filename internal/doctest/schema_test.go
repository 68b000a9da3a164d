// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/doctest"
)

func TestManifestSchema_upToDate(t *testing.T) {
	want := must(doctest.ManifestSchema())(t)
	if got := read(t, root+"/docs/manifest.schema.json"); got != string(want) {
		t.Error("docs/manifest.schema.json is stale: run make generate")
	}
}

func readSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var schema jsonschema.Schema
	if err := json.Unmarshal([]byte(read(t, root+"/docs/manifest.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	return &schema
}

// validate returns why a manifest does not match the schema.
func validate(t *testing.T, manifest string) error {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(manifest), &value); err != nil {
		t.Fatal(err)
	}
	return must(readSchema(t).Resolve(nil))(t).Validate(value)
}

func TestManifestSchema_acceptsManifests(t *testing.T) {
	manifests := must(filepath.Glob("../report/testdata/manifest*.json.golden"))(t)
	if len(manifests) < 2 {
		t.Fatalf("got the manifests %q, want 2 or more", manifests)
	}
	for _, path := range manifests {
		text := read(t, path)
		if err := validate(t, text); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		later := strings.Replace(text, `"mode":`, `"key_of_a_later_version": true, "mode":`, 1)
		if err := validate(t, later); err != nil {
			t.Errorf("%s with a new key: %v", path, err)
		}
		for _, c := range [][2]string{
			{`"source_amis": [`, `"source_amis": null, "other": [`},
			{`"status": "failed"`, `"status": null`},
			{`"schema_version": "1.0",`, ``},
		} {
			if err := validate(t, strings.Replace(text, c[0], c[1], 1)); err == nil {
				t.Errorf("%s with %s instead of %s: got no error", path, c[1], c[0])
			}
		}
	}
}

// docs/manifest.md explains every key of the manifest.
func TestManifestSchema_documented(t *testing.T) {
	documented := map[string]bool{}
	for _, span := range parseMarkdown(read(t, root+"/docs/manifest.md")).codeSpans() {
		documented[span] = true
	}
	var check func(schema *jsonschema.Schema)
	check = func(schema *jsonschema.Schema) {
		for key, property := range schema.Properties {
			if !documented[key] {
				t.Errorf("the page does not explain %s", key)
			}
			check(property)
		}
		if schema.Items != nil {
			check(schema.Items)
		}
	}
	check(readSchema(t))
}
