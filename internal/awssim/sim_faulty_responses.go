// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strings"
)

// creatingVerbs start the names of operations whose response names what they created.
var creatingVerbs = []string{"Copy", "Create", "Register", "Run", "StartSnapshot"}

// emptyBody returns a response without a body, as some proxies send it. The SDK reads it as an output without members.
func emptyBody(answer *http.Response) *http.Response {
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(nil)), 0
	answer.Header.Del("Content-Type")
	return answer
}

// withoutIDs returns a copy of an operation's output without IDs. The original must not change, because a repeated call
// with the same client token gets it.
func withoutIDs(operation string, out any) any {
	for _, verb := range creatingVerbs {
		if strings.HasPrefix(operation, verb) {
			stripped := reflect.New(reflect.TypeOf(out).Elem())
			stripped.Elem().Set(copyWithoutIDs(reflect.ValueOf(out).Elem()))
			return stripped.Interface()
		}
	}
	return out
}

func copyWithoutIDs(v reflect.Value) reflect.Value {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct:
		copied := reflect.New(v.Type().Elem())
		copied.Elem().Set(copyWithoutIDs(v.Elem()))
		return copied
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			copied.Index(i).Set(copyWithoutIDs(v.Index(i)))
		}
		return copied
	case v.Kind() == reflect.Struct:
		return structWithoutIDs(v)
	}

	return v
}

func structWithoutIDs(v reflect.Value) reflect.Value {
	copied := reflect.New(v.Type()).Elem()
	copied.Set(v)
	for i := range v.NumField() {
		switch field := v.Type().Field(i); {
		case !field.IsExported():
		case isIDMember(field):
			copied.Field(i).SetZero()
		default:
			copied.Field(i).Set(copyWithoutIDs(v.Field(i)))
		}
	}

	return copied
}

// isIDMember reports whether a member holds an ID. The owner of a resource is no ID of the resource.
func isIDMember(field reflect.StructField) bool {
	return field.Type == reflect.TypeFor[*string]() && strings.HasSuffix(field.Name, "Id") && field.Name != "OwnerId"
}
