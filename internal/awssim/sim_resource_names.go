// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"reflect"
	"regexp"
	"slices"
)

// resourcePattern is the form of what names a resource of AWS: an ARN, an id of EC2, a key's id or alias.
var resourcePattern = regexp.MustCompile(
	`^(arn:aws[a-z-]*:.+|[a-z]{1,6}-[0-9a-f]{8}([0-9a-f]{9})?|alias/.+|(mrk-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})$`,
)

// resourcesIn are the resources that a request names, sorted.
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

// walkStrings tells each text in a value, but for client tokens, which name nothing.
func walkStrings(v reflect.Value, tell func(string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walkStrings(v.Elem(), tell)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() && field.Name != "ClientToken" {
				walkStrings(v.Field(i), tell)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkStrings(v.Index(i), tell)
		}
	case reflect.String:
		tell(v.String())
	}
}
