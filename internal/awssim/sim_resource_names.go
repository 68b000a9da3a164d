// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"reflect"
	"regexp"
	"slices"
)

// resourcePattern matches names of AWS resources: ARNs, EC2 IDs, key IDs and aliases.
var resourcePattern = regexp.MustCompile(
	`^(arn:aws[a-z-]*:.+|[a-z]{1,6}-[0-9a-f]{8}([0-9a-f]{9})?|alias/.+|` +
		`(mrk-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$`,
)

// resourcesIn returns the resources in a request, sorted.
func resourcesIn(in any) []string {
	var found []string
	if in != nil {
		walkStrings(reflect.ValueOf(in), func(text string) {
			if resourcePattern.MatchString(text) {
				found = append(found, text)
			}
		})
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// walkStrings calls visit with each string in a value, except for client tokens.
func walkStrings(v reflect.Value, visit func(string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walkStrings(v.Elem(), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() && field.Name != "ClientToken" {
				walkStrings(v.Field(i), visit)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkStrings(v.Index(i), visit)
		}
	case reflect.String:
		visit(v.String())
	}
}
