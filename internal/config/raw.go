// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2/hcldec"
)

// RawOptions returns the options as Packer passed them to Configure, before template variables are rendered. A JSON
// template reads its user variables with a function that HCL2 does not have, so they are replaced by their values.
func RawOptions(raws ...any) map[string]any {
	options, variables := map[string]any{}, map[string]any{}
	for _, raw := range raws {
		found, err := optionsOf(raw)
		if err != nil {
			continue
		}
		if found == nil {
			found, _ = plain(raw).(map[string]any)
		}
		found, _ = plain(found).(map[string]any)
		if user, ok := found["packer_user_variables"].(map[string]any); ok {
			maps.Copy(variables, user)
		}
		for name, value := range found {
			if !strings.HasPrefix(name, "packer_") {
				options[name] = value
			}
		}
	}
	resolved, _ := withUserVariables(options, variables).(map[string]any)
	return resolved
}

// Spec returns the spec of the options, without those that Packer sets.
func Spec() map[string]hcldec.Spec {
	spec := maps.Clone(new(Config).FlatMapstructure().HCL2Spec())
	maps.DeleteFunc(spec, func(name string, _ hcldec.Spec) bool { return strings.HasPrefix(name, "packer_") })
	return spec
}

// plain returns a value that was passed through RPC in the types of a JSON document.
func plain(value any) any {
	switch value := value.(type) {
	case []byte:
		return string(value)
	case map[any]any:
		converted := make(map[string]any, len(value))
		for key, element := range value {
			converted[fmt.Sprint(plain(key))] = plain(element)
		}
		return converted
	case map[string]any:
		converted := make(map[string]any, len(value))
		for key, element := range value {
			converted[key] = plain(element)
		}
		return converted
	case map[string]string:
		converted := make(map[string]any, len(value))
		for key, element := range value {
			converted[key] = element
		}
		return converted
	case []any:
		converted := make([]any, len(value))
		for i, element := range value {
			converted[i] = plain(element)
		}
		return converted
	case []string:
		converted := make([]any, len(value))
		for i, element := range value {
			converted[i] = element
		}
		return converted
	}
	return value
}

// userVariable matches the function that reads a user variable in a template in JSON.
var userVariable = regexp.MustCompile("{{-? *user *[`\"]([^`\"]+)[`\"] *-?}}")

// withUserVariables replaces user variables by their values in all texts of a value.
func withUserVariables(value any, variables map[string]any) any {
	switch value := value.(type) {
	case string:
		return userVariable.ReplaceAllStringFunc(value, func(call string) string {
			name := userVariable.FindStringSubmatch(call)[1]
			if text, ok := variables[name].(string); ok {
				return text
			}
			return call
		})
	case map[string]any:
		for key, element := range value {
			value[key] = withUserVariables(element, variables)
		}
	case []any:
		for i, element := range value {
			value[i] = withUserVariables(element, variables)
		}
	}
	return value
}
