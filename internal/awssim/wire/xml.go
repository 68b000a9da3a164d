// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	smithytime "github.com/aws/smithy-go/time"
)

// xmlWriter writes responses of ec2query and query.
type xmlWriter struct {
	bytes.Buffer
	names names
}

func (w *xmlWriter) within(name, namespace string, content func()) {
	w.WriteString("<")
	w.WriteString(name)
	if namespace != "" {
		w.WriteString(` xmlns="` + namespace + `"`)
	}
	w.WriteString(">")
	content()
	w.WriteString("</")
	w.WriteString(name)
	w.WriteString(">")
}

func (w *xmlWriter) text(name, text string) {
	w.within(name, "", func() { _ = xml.EscapeText(w, []byte(text)) })
}

func (w *xmlWriter) members(v reflect.Value) {
	for i := range v.NumField() {
		if field := v.Type().Field(i); isMember(field) && isSent(v.Type(), field, v.Field(i)) {
			name, item := w.names.out(v.Type(), field.Name)
			w.value(name, item, v.Field(i))
		}
	}
}

func (w *xmlWriter) value(name, item string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}

	if text, ok := textOf(v); ok {
		w.text(name, text)
		return
	}

	w.within(name, "", func() {
		switch v.Kind() {
		case reflect.Struct:
			w.members(v)
		case reflect.Slice:
			for i := range v.Len() {
				w.value(item, w.names.item, v.Index(i))
			}
		case reflect.Map:
			for _, key := range sortedKeys(v) {
				w.within("entry", "", func() {
					w.value("key", "", key)
					w.value("value", w.names.item, v.MapIndex(key))
				})
			}
		}
	})
}

func (w *xmlWriter) refusal(api api, requestID, code, message string) {
	err := func() {
		w.within("Error", "", func() {
			if !api.ec2 {
				w.text("Type", "Sender")
			}
			w.text("Code", code)
			w.text("Message", message)
		})
	}

	if api.ec2 {
		w.within("Response", "", func() {
			w.within("Errors", "", err)
			w.text("RequestID", requestID)
		})
		return
	}

	w.within("ErrorResponse", api.namespace, func() {
		err()
		w.text("RequestId", requestID)
	})
}

// isMember reports whether a field of an SDK struct is sent.
func isMember(field reflect.StructField) bool {
	return field.IsExported() && field.Name != "ResultMetadata"
}

// isAbsent reports whether a member is left out: a nil pointer, list or map, or an enumeration without a value.
func isAbsent(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	case reflect.String:
		return v.Len() == 0
	}
	return false
}

func textOf(v reflect.Value) (text string, ok bool) {
	switch v := v.Interface().(type) {
	case time.Time:
		return smithytime.FormatDateTime(v), true
	case []byte:
		return base64.StdEncoding.EncodeToString(v), true
	}

	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10), true
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'f', -1, v.Type().Bits()), true
	case reflect.Struct, reflect.Slice, reflect.Map:
		return "", false
	}

	panic(fmt.Sprintf("wire: no text for a %s", v.Type()))
}

func sortedKeys(v reflect.Value) []reflect.Value {
	return slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int {
		return strings.Compare(a.String(), b.String())
	})
}
