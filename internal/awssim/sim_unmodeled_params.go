// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"reflect"
	"slices"
	"strings"
)

// refuseUnmodeled refuses an input that sets a member which the operation does not model. Ignoring it would hide a
// difference from AWS. DryRun is always modeled. A pointer to a zero value counts as unset.
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

// isUnset reports whether a member and all its own members are unset.
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
