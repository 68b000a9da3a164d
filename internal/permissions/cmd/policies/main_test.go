// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun_reportsPoliciesTooLarge(t *testing.T) {
	for accounts, warning := range map[string]string{"222222222222": "", "222222222222" + many(60): "build-role.json " +
		"has "} {
		folder := t.TempDir()
		var warned bytes.Buffer
		if err := run([]string{"-out", folder, "-target-accounts", accounts, "-users", "444444444444"}, &warned); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(folder, "build-role.json")); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(warned.String(), warning) || warning == "" && warned.Len() > 0 {
			t.Errorf("%s: %q", accounts, warned.String())
		}
	}
}

// many returns n further accounts.
func many(n int) (all string) {
	for i := range n {
		all += fmt.Sprintf(",3%011d", i)
	}
	return all
}
