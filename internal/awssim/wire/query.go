// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	smithytime "github.com/aws/smithy-go/time"
)

// node is a parameter with its children. In Filter.1.Name, Name is a child of 1, which is a child of Filter.
type node struct {
	value *string
	below map[string]*node
}

// readForm parses the parameters of a query request. They are in the body, or in the query string of a GET request or
// presigned URL.
func (r *Request) readForm(query url.Values) error {
	form := url.Values{}
	for pair := range strings.SplitSeq(string(r.Body), "&") {
		// one by one, because url.ParseQuery accepts at most 10,000 parameters
		read, err := url.ParseQuery(pair)
		if err != nil {
			return malformedQuery(err)
		}
		for name, values := range read {
			form[name] = append(form[name], values...)
		}
	}

	for name, values := range query {
		if !strings.HasPrefix(name, "X-Amz-") { // not a parameter of the signature
			form[name] = append(form[name], values...)
		}
	}

	r.Operation = form.Get("Action")
	if r.Operation == "" {
		return &Error{http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action."}
	}
	if version := form.Get("Version"); version != "" && version != r.api.version {
		return &Error{
			http.StatusBadRequest, "InvalidAction", "Could not find operation " + r.Operation + " for version " + version,
		}
	}

	delete(form, "Action")
	delete(form, "Version")

	r.form = &node{}
	for name, values := range form {
		if len(values) > 1 {
			return malformedQuery(errors.New("the parameter " + name + " is given twice"))
		}

		at := r.form
		for part := range strings.SplitSeq(name, ".") {
			next := at.below[part]
			if next == nil {
				next = &node{}
				if at.below == nil {
					at.below = map[string]*node{}
				}
				at.below[part] = next
			}
			at = next
		}

		value := strings.Clone(values[0]) // so that a kept value does not keep the whole request in memory
		at.value = &value
	}

	return nil
}

// formDecoder sets structs from nodes. A node that no member reads is an error.
type formDecoder struct {
	request *Request
	names   names
	extras  map[string]string
}

func (d *formDecoder) structure(into reflect.Value, from *node, path string) error {
	if from.value != nil {
		return d.request.unknownParameter(path)
	}

	unread := maps.Clone(from.below)
	for i := range into.NumField() {
		field := into.Type().Field(i)
		name := d.names.in(into.Type(), field.Name)
		child := unread[name]
		if child == nil || field.Anonymous {
			continue
		}

		delete(unread, name)
		var err error
		if field.IsExported() {
			err = d.value(into.Field(i), child, join(path, name))
		} else {
			err = d.extra(reflect.New(field.Type).Elem(), child, name)
		}

		if err != nil {
			return err
		}
	}

	if len(unread) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(unread)))
		return d.request.unknownParameter(join(path, name) + unread[name].firstPath())
	}

	return nil
}

// extra keeps the text of a member that the SDK does not export.
func (d *formDecoder) extra(v reflect.Value, from *node, name string) error {
	if err := d.value(v, from, name); err != nil {
		return err
	}
	if d.extras == nil {
		d.extras = map[string]string{}
	}
	d.extras[name] = reflect.Indirect(v).String()
	return nil
}

func (d *formDecoder) value(into reflect.Value, from *node, path string) error {
	_, isTime := into.Interface().(time.Time)
	_, isBlob := into.Interface().([]byte)
	switch {
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return d.value(into.Elem(), from, path)
	case into.Kind() == reflect.Struct && !isTime:
		return d.structure(into, from, path)
	case into.Kind() == reflect.Slice && !isBlob:
		return d.list(into, from, path)
	case from.value == nil || from.below != nil:
		return d.request.unknownParameter(path + from.firstPath())
	}

	// Some operations check an enumeration value themselves.
	checked := into.Kind() == reflect.String &&
		(slices.Contains(operationsThatCheckEnums, d.request.Operation) || path == storedInstanceType)
	if !setText(into, *from.value) && !checked {
		return d.request.invalidValue(into, path, *from.value)
	}
	return nil
}

// storedInstanceType is the instance type of a launch template, which EC2 stores even if it does not know it.
const storedInstanceType = "LaunchTemplateData.InstanceType"

// operationsThatCheckEnums are the operations that check enumeration values themselves. They ignore unknown values or
// have errors of their own (rules 2.1.6, 2.2.10 and A.4.3).
var operationsThatCheckEnums = []string{
	"DescribeSnapshotAttribute", "ModifySnapshotAttribute", "ResetSnapshotAttribute", "ModifyImageAttribute",
	"ResetImageAttribute",
}

// list reads Filter.1, Filter.2 (ec2query) or Tags.member.1, Tags.member.2 (query), numbered without gaps. A list given
// as an empty string is empty, not nil.
func (d *formDecoder) list(into reflect.Value, from *node, path string) error {
	if from.value != nil {
		if *from.value != "" || from.below != nil {
			return d.request.unknownParameter(path)
		}
		into.Set(reflect.MakeSlice(into.Type(), 0, 0))
		return nil
	}

	if !d.request.api.ec2 {
		member := from.below[d.names.item]
		if member == nil || len(from.below) > 1 || member.value != nil {
			return d.request.unknownParameter(path + from.firstPath())
		}
		from, path = member, join(path, d.names.item)
	}

	list := reflect.MakeSlice(into.Type(), len(from.below), len(from.below))
	for _, number := range slices.Sorted(maps.Keys(from.below)) {
		n, _ := strconv.Atoi(number)
		if n < 1 || n > list.Len() || strconv.Itoa(n) != number {
			return d.request.unknownParameter(join(path, number) + from.below[number].firstPath())
		}
		if err := d.value(list.Index(n-1), from.below[number], join(path, number)); err != nil {
			return err
		}
	}

	into.Set(list)
	return nil
}

// firstPath returns the path from a node to its first parameter, for error messages.
func (n *node) firstPath() string {
	var path strings.Builder
	for n.value == nil && len(n.below) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(n.below)))
		path.WriteString("." + name)
		n = n.below[name]
	}
	return path.String()
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// setText sets a scalar from text. It reports whether the text is valid.
func setText(into reflect.Value, text string) bool {
	var err error
	switch v := into.Addr().Interface().(type) {
	case *time.Time:
		*v, err = smithytime.ParseDateTime(text)
		return err == nil
	case *[]byte:
		*v, err = base64.StdEncoding.DecodeString(text)
		return err == nil
	}

	switch into.Kind() {
	case reflect.String:
		into.SetString(text)
		return isEnumValue(into)
	case reflect.Bool:
		into.SetBool(text == "true")
		return text == "true" || text == "false"
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, into.Type().Bits())
		into.SetInt(n)
		return err == nil
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, into.Type().Bits())
		into.SetFloat(n)
		return err == nil
	}

	return false
}

// isEnumValue reports whether a string is a value of its type. A type that is not an enumeration accepts any string.
func isEnumValue(v reflect.Value) bool {
	known, isEnum := enumValues(v)
	return !isEnum || slices.Contains(known, v.String())
}

// enumValues returns the values of an enumeration that the SDK knows, and whether the type is one.
func enumValues(v reflect.Value) (known []string, isEnum bool) {
	values := v.MethodByName("Values")
	if !values.IsValid() {
		return nil, false
	}
	for _, value := range values.Call(nil)[0].Seq2() {
		known = append(known, value.String())
	}
	return known, true
}
