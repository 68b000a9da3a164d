// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

func TestPage_variablesAndEvents(t *testing.T) {
	text, err := os.ReadFile("../../docs/post-processors/encrypted-ami.mdx")
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{string(distribution.Begun), string(distribution.Progressed), string(distribution.Finished), string(distribution.Failed), string(distribution.Skipped), string(distribution.Noted)}
	for _, variable := range reflect.VisibleFields(reflect.TypeFor[distribution.Vars]()) {
		wanted = append(wanted, "{{ ."+variable.Name+" }}")
	}
	for _, name := range wanted {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
	}
}
