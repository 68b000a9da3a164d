// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// refuseUnmodeled refuses an input, or a part of one, that sets a member which its operation does not model: ignored,
// it would make a promise that nothing keeps. DryRun is always modelled. A pointer to an empty string, false or zero
// counts as not set.
func refuseUnmodeled(in any, members ...string) error {
	value := reflect.ValueOf(in).Elem()
	for i := range value.NumField() {
		field := value.Type().Field(i)
		if !field.IsExported() || field.Name == "DryRun" || slices.Contains(members, field.Name) || isUnset(value.Field(i)) {
			continue
		}
		return newAPIError(http.StatusBadRequest, "UnsupportedOperation",
			"The simulated AWS does not model the parameter %s of %s.",
			field.Name, strings.TrimSuffix(value.Type().Name(), "Input"))
	}
	return nil
}

// isUnset reports a member that says nothing; a structure of such members says nothing either.
func isUnset(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return v.IsNil() || isUnset(v.Elem())
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		for i := range v.NumField() {
			if !isUnset(v.Field(i)) {
				return false
			}
		}
		return true
	}

	return v.IsZero()
}
