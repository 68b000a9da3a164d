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
	if from.Type() == into.Type() {
		into.Set(from)
		return
	}

	if from.Kind() != into.Kind() {
		return
	}

	switch from.Kind() {
	case reflect.Pointer:
		if !from.IsNil() {
			into.Set(reflect.New(into.Type().Elem()))
			convertValue(from.Elem(), into.Elem())
		}
	case reflect.Slice:
		if !from.IsNil() {
			into.Set(reflect.MakeSlice(into.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				convertValue(from.Index(i), into.Index(i))
			}
		}
	case reflect.Struct:
		for i := range into.NumField() {
			field := into.Type().Field(i)
			if member := from.FieldByName(field.Name); field.IsExported() && member.IsValid() {
				convertValue(member, into.Field(i))
			}
		}
	default:
		if from.CanConvert(into.Type()) {
			into.Set(from.Convert(into.Type()))
		}
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
