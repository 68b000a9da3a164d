// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

func TestThePageNamesEveryTemplateVariableEventAndPartOfTheResult(t *testing.T) {
	text, err := os.ReadFile("../../docs/post-processors/share.mdx")
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{string(plan.Begun), string(plan.Progressed), string(plan.Finished), string(plan.Failed), string(plan.Skipped), string(plan.Noted)}
	for _, variable := range reflect.VisibleFields(reflect.TypeFor[plan.Vars]()) {
		wanted = append(wanted, "{{ ."+variable.Name+" }}")
	}
	for _, state := range []plan.State{plan.Waiting, plan.Underway, plan.DestinationSucceeded, plan.DestinationFailed, plan.Excluded} {
		wanted = append(wanted, string(state))
	}
	for _, part := range reflect.VisibleFields(reflect.TypeFor[plan.Result]()) {
		wanted = append(wanted, part.Name)
	}
	for _, name := range wanted {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the page does not name %s", name)
		}
	}
}
