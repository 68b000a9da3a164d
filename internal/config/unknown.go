// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// unknowns finds the options that are still unknown when the post-processor runs. An example is build.PackerRunUUID,
// which the null builder never sets.
func (p *diagnostics) unknowns(c *Config) {
	fields := reflect.ValueOf(c).Elem()
	for _, field := range reflect.VisibleFields(fields.Type()) {
		if name := optionOf(field); name != "" && !strings.HasPrefix(name, "packer_") {
			p.unknownsIn(name, fields.FieldByIndex(field.Index))
		}
	}
}

func optionOf(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
	return name
}

func (p *diagnostics) unknownsIn(path string, value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			p.unknownsIn(path, value.Elem())
		}
	case reflect.Struct:
		in := p.in(path)
		switch block := value.Interface().(type) {
		case Target:
			in = p.in(block.label())
		case Share:
			in = p.in(named("share", block.Name, path))
		}
		for i := range value.NumField() {
			in.unknownsIn(optionOf(value.Type().Field(i)), value.Field(i))
		}
	case reflect.Slice:
		for i := range value.Len() {
			p.unknownsIn(index(path, i), value.Index(i))
		}
	case reflect.Map:
		p.unknownsInMap(path, value)
	case reflect.String:
		if strings.Contains(value.String(), unknown) {
			p.add(path, "no value when the post-processor runs")
		}
	case reflect.Int64:
		if value.Interface() == notKnown && value.Type() == reflect.TypeFor[time.Duration]() {
			p.add(path, "no value when the post-processor runs")
		}
	}
}

// unknownsInMap reports the keys and values of a map that are still unknown, sorted by key.
func (p *diagnostics) unknownsInMap(path string, value reflect.Value) {
	keys := value.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, key := range keys {
		p.unknownsIn(element(path, key.String()), value.MapIndex(key))
		if strings.Contains(key.String(), unknown) {
			p.add(element(path, key.String()), "no value when the post-processor runs")
		}
	}
}

// named returns the name of a block in messages: its name option if it is known, otherwise its path.
func named(block, name, path string) string {
	if literal(name) {
		return fmt.Sprintf("%s %q", block, name)
	}
	return path
}
