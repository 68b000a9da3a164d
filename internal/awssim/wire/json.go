// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	smithytime "github.com/aws/smithy-go/time"
)

// decodeJSON reads JSON 1.1. Members have the names of the SDK's fields.
func (r *Request) decodeJSON(into reflect.Value) error {
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.UseNumber()
	var from any
	if err := decoder.Decode(&from); err != nil {
		return serialization("the body is no JSON: " + err.Error())
	}
	if _, err := decoder.Token(); err != io.EOF {
		return serialization("there is more than one JSON value in the body")
	}
	return r.setJSON(into, from, "")
}

func (r *Request) setJSON(into reflect.Value, from any, path string) error {
	switch into.Addr().Interface().(type) {
	case *time.Time:
		number, ok := from.(json.Number)
		seconds, err := number.Float64()
		if !ok || err != nil {
			return mistyped(path, "a number of seconds", from)
		}
		into.Set(reflect.ValueOf(smithytime.ParseEpochSeconds(seconds)))
		return nil
	case *[]byte:
		text, ok := from.(string)
		blob, err := base64.StdEncoding.DecodeString(text)
		if !ok || err != nil {
			return mistyped(path, "base64 text", from)
		}
		into.SetBytes(blob)
		return nil
	}

	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return r.setJSON(into.Elem(), from, path)
	case reflect.Struct:
		return r.setJSONStruct(into, from, path)
	case reflect.Slice:
		return r.setJSONList(into, from, path)
	case reflect.Map:
		return r.setJSONMap(into, from, path)
	}

	return r.setJSONScalar(into, from, path)
}

// setJSONStruct sets the members of a struct from an object. A member that the struct does not have is an error.
func (r *Request) setJSONStruct(into reflect.Value, from any, path string) error {
	object, ok := from.(map[string]any)
	if !ok {
		return mistyped(path, "an object", from)
	}

	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, ok := into.Type().FieldByName(name)
		if !ok || !isMember(field) || field.Type.Kind() == reflect.Interface {
			return r.unknownParameter(join(path, name))
		}
		if object[name] == nil {
			continue // null means absent
		}
		if err := r.setJSON(into.FieldByIndex(field.Index), object[name], join(path, name)); err != nil {
			return err
		}
	}

	return nil
}

// setJSONList sets a slice from a list.
func (r *Request) setJSONList(into reflect.Value, from any, path string) error {
	list, ok := from.([]any)
	if !ok {
		return mistyped(path, "a list", from)
	}

	into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
	for i, element := range list {
		if err := r.setJSON(into.Index(i), element, join(path, strconv.Itoa(i+1))); err != nil {
			return err
		}
	}

	return nil
}

// setJSONMap sets a map from an object.
func (r *Request) setJSONMap(into reflect.Value, from any, path string) error {
	object, ok := from.(map[string]any)
	if !ok {
		return mistyped(path, "an object", from)
	}

	into.Set(reflect.MakeMap(into.Type()))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		value := reflect.New(into.Type().Elem()).Elem()
		if err := r.setJSON(value, object[key], join(path, key)); err != nil {
			return err
		}
		into.SetMapIndex(reflect.ValueOf(key).Convert(into.Type().Key()), value)
	}

	return nil
}

// setJSONScalar sets a string, a bool or a number.
func (r *Request) setJSONScalar(into reflect.Value, from any, path string) error {
	switch into.Kind() {
	case reflect.String:
		text, ok := from.(string)
		if !ok {
			return mistyped(path, "a string", from)
		}
		into.SetString(text)
		if !isEnumValue(into) {
			return r.invalidValue(into, path, text)
		}
	case reflect.Bool:
		truth, ok := from.(bool)
		if !ok {
			return mistyped(path, "true or false", from)
		}
		into.SetBool(truth)
	default:
		number, ok := from.(json.Number)
		if !ok || !setText(into, number.String()) {
			return mistyped(path, "a number of "+into.Kind().String(), from)
		}
	}

	return nil
}

func mistyped(path, want string, got any) *Error {
	return serialization(fmt.Sprintf("%s must be %s, not %v", cmp.Or(path, "the body"), want, got))
}

func serialization(message string) *Error {
	return &Error{http.StatusBadRequest, "SerializationException", message}
}

// encodeJSON writes a struct or map.
func encodeJSON(v reflect.Value) []byte {
	body, err := json.Marshal(toPlain(v))
	if err != nil {
		panic(err) // only maps, lists and scalars reach Marshal
	}
	return body
}

// toPlain returns a value that encoding/json writes as AWS does.
func toPlain(v reflect.Value) any {
	switch v := v.Interface().(type) {
	case time.Time:
		return smithytime.FormatEpochSeconds(v)
	case []byte:
		return v // base64
	}

	switch v.Kind() {
	case reflect.Pointer:
		return toPlain(v.Elem())
	case reflect.Struct:
		object := map[string]any{}
		for i := range v.NumField() {
			if field := v.Type().Field(i); isMember(field) && isSent(v.Type(), field, v.Field(i)) {
				object[field.Name] = toPlain(v.Field(i))
			}
		}
		return object
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = toPlain(v.Index(i))
		}
		return list
	case reflect.Map:
		object := map[string]any{}
		for key, value := range v.Seq2() {
			object[key.String()] = toPlain(value)
		}
		return object
	case reflect.Interface:
		panic("wire: no JSON for the union " + v.Type().String())
	}

	return v.Interface()
}
