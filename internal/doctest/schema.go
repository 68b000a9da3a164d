// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// ManifestSchema returns the JSON Schema of the manifest. It accepts unknown keys, which a later minor version may add.
func ManifestSchema() ([]byte, error) {
	schema, err := jsonschema.For[report.Manifest](&jsonschema.ForOptions{
		TypeSchemas: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[report.OptionalString](): {Types: []string{"null", "string"}},
			reflect.TypeFor[report.OptionalInt64]():  {Types: []string{"null", "integer"}},
			reflect.TypeFor[report.Time]():           {Types: []string{"null", "string"}, Format: "date-time"},
			reflect.TypeFor[json.RawMessage]():       {Type: "object"},
		},
	})
	if err != nil {
		return nil, err
	}
	schema.Schema = "https://json-schema.org/draft/2020-12/schema"
	schema.Title = "Manifest of packer-plugin-encrypted-ami, version " + report.SchemaVersion
	relax(schema)
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

// relax accepts unknown keys. It refuses null for a list, because the manifest has [] instead.
func relax(schema *jsonschema.Schema) {
	schema.AdditionalProperties = nil
	if slices.Contains(schema.Types, "array") {
		schema.Type, schema.Types = "array", nil
	}
	for _, property := range schema.Properties {
		relax(property)
	}
	if schema.Items != nil {
		relax(schema.Items)
	}
}
