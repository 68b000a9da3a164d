// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

func TestPage_variables(t *testing.T) {
	text, err := os.ReadFile("../../docs/post-processors/encrypted-ami.mdx")
	if err != nil {
		t.Fatal(err)
	}
	var wanted []string
	for _, variable := range reflect.VisibleFields(reflect.TypeFor[distribution.Vars]()) {
		wanted = append(wanted, "{{ ."+variable.Name+" }}")
	}
	for _, name := range wanted {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
	}
}

// An option that several blocks have counts once, because a user reads about it once.
func TestOptions_count(t *testing.T) {
	const most = 119
	blocks := map[reflect.Type]bool{}
	count := 0
	var visit func(block reflect.Type)
	visit = func(block reflect.Type) {
		if blocks[block] {
			return
		}
		blocks[block] = true
		for _, field := range reflect.VisibleFields(block) {
			option, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
			if option == "" || strings.HasPrefix(option, "packer_") || field.Tag.Get("undocumented") != "" {
				continue
			}
			count++
			inner := field.Type
			for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				visit(inner)
			}
		}
	}
	visit(reflect.TypeFor[config.Config]())
	t.Logf("%d options in %d blocks", count, len(blocks))
	if count > most {
		t.Errorf("got %d options, want at most %d", count, most)
	}
}
