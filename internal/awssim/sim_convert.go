// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "reflect"

// convertFields copies the fields that two structs have in common, by name. EC2 has the same data in several types: for
// requests, responses and launch templates.
func convertFields(from, into any) {
	convertValue(reflect.ValueOf(from), reflect.ValueOf(into).Elem())
}

func convertValue(from, into reflect.Value) {
	switch {
	case from.Type() == into.Type():
		into.Set(from)
	case from.Kind() == reflect.Pointer && into.Kind() == reflect.Pointer:
		if !from.IsNil() {
			into.Set(reflect.New(into.Type().Elem()))
			convertValue(from.Elem(), into.Elem())
		}
	case from.Kind() == reflect.Slice && into.Kind() == reflect.Slice:
		if !from.IsNil() {
			into.Set(reflect.MakeSlice(into.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				convertValue(from.Index(i), into.Index(i))
			}
		}
	case from.Kind() == reflect.Struct && into.Kind() == reflect.Struct:
		for i := range into.NumField() {
			field := into.Type().Field(i)
			if member := from.FieldByName(field.Name); field.IsExported() && member.IsValid() {
				convertValue(member, into.Field(i))
			}
		}
	case from.CanConvert(into.Type()) && from.Kind() == into.Kind():
		into.Set(from.Convert(into.Type()))
	}
}

// overlay returns base with the non-zero fields of over.
func overlay[T any](base, over T) T {
	from, into := reflect.ValueOf(over), reflect.ValueOf(&base).Elem()
	for i := range from.NumField() {
		if into.Field(i).CanSet() && !from.Field(i).IsZero() {
			into.Field(i).Set(from.Field(i))
		}
	}
	return base
}
