// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A kind of step without an operation would fail when a run reaches it, after hours of copies.
func TestRegister_everyKind(t *testing.T) {
	hasDryRuns := map[string]bool{}
	for kind, o := range operations {
		hasDryRuns[kind.Elem().Name()] = o.dryRuns != nil
		if o.start == nil {
			t.Errorf("%s cannot be started", kind)
		}
	}

	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func \(s \*(\w+)\) (start|dryRuns)\(env Env\)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, method := range declared.FindAllStringSubmatch(string(text), -1) {
			listed, found := hasDryRuns[method[1]]
			if !found || method[2] == "dryRuns" && !listed {
				t.Errorf("%s: the method %s of %s is not registered", file, method[2], method[1])
			}
		}
	}
	if len(hasDryRuns) < 25 {
		t.Errorf("got %d kinds of steps, want 25 or more", len(hasDryRuns))
	}
}
