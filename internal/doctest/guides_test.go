// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"encoding/json"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/doctest"
)

func TestErrorGuide_upToDate(t *testing.T) {
	want, err := doctest.Errors(read(t, "../diagnose/testdata/rules.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, root+"/docs/guides/errors.md"); got != want {
		t.Error("docs/guides/errors.md is stale: run make generate")
	}
}

// titledID matches a heading that begins with an id in upper case: "Ami-0a is pending".
var titledID = regexp.MustCompile(`^[A-Z][a-z]*[-:]`)

func TestErrorGuide_idsInLowerCase(t *testing.T) {
	headings := parseMarkdown(read(t, root+"/docs/guides/errors.md")).headings()
	for _, heading := range headings {
		if titledID.MatchString(heading) {
			t.Error(heading)
		}
	}
	if len(headings) < 50 {
		t.Errorf("got %d headings, want 50 or more", len(headings))
	}
}

// The key policy of the guide allows the same as the documented key policy, for the account of the guide.
func TestAutoScalingGuide_keyPolicyAsDocumented(t *testing.T) {
	_, policy, found := strings.Cut(shellScript(t, "docs/guides/auto-scaling.md"), "cat > launch-key.json <<'END'\n")
	if !found {
		t.Fatal("the guide has no launch-key.json")
	}
	policy, _, _ = strings.Cut(policy, "END\n")
	guide := parseStatements(t, policy)[1:] // the first one is for the account of the key
	sharePolicy := strings.ReplaceAll(read(t, root+"/docs/policies/share-key.json"), "888888888888", target)
	documented := parseStatements(t, sharePolicy)
	for _, statements := range [][]map[string]any{guide, documented} {
		for _, s := range statements {
			delete(s, "Sid")
		}
	}
	if !reflect.DeepEqual(guide, documented) {
		t.Errorf("got\n%v\nwant\n%v", guide, documented)
	}
}

// parseStatements returns the statements of a policy. Each string is replaced by a list (listStrings).
func parseStatements(t *testing.T, policy string) []map[string]any {
	t.Helper()
	var document struct{ Statement []map[string]any }
	if err := json.Unmarshal([]byte(policy), &document); err != nil {
		t.Fatal(err)
	}
	for _, statement := range document.Statement {
		listStrings(statement)
	}
	return document.Statement
}

// listStrings replaces each string in a value by a list of that string, because the policy language treats both alike.
func listStrings(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name := range value {
			value[name] = listStrings(value[name])
		}
	case string:
		return []any{value}
	}
	return value
}

// CloudFormation refuses a stack that lacks the value of a parameter without a default.
func TestStacks_haveTheirParameters(t *testing.T) {
	stacks := 0
	for page, text := range pages(t) {
		for _, block := range parseMarkdown(text).codeBlocks() {
			for line := range strings.Lines(strings.ReplaceAll(block.Text, "\\\n", " ")) {
				if strings.Contains(line, "aws cloudformation deploy ") {
					stacks++
					checkStack(t, page, line)
				}
			}
		}
	}
	if stacks == 0 {
		t.Error("no page deploys a stack")
	}
}

func checkStack(t *testing.T, page, command string) {
	t.Helper()
	words := strings.Fields(command)
	given, file := map[string]bool{}, ""
	for i, word := range words {
		if word == "--template-file" {
			file = path.Base(words[i+1])
		} else if name, _, ok := strings.Cut(word, "="); ok {
			given[name] = true
		}
	}

	var template struct {
		Parameters map[string]struct{ Default *string }
	}
	if err := json.Unmarshal([]byte(read(t, root+"/example/setup/cloudformation/"+file)), &template); err != nil {
		t.Fatal(err)
	}
	for name, parameter := range template.Parameters {
		if parameter.Default == nil && !given[name] {
			t.Errorf("%s: %s lacks the parameter %s", page, file, name)
		}
		delete(given, name)
	}
	for name := range given {
		t.Errorf("%s: %s has no parameter %s", page, file, name)
	}
}

// The reference of the post-processor stays short enough to be read. Its examples do not count.
func TestReference_length(t *testing.T) {
	page := read(t, filepath.Join(root, ".web-docs/components/post-processor/encrypted-ami/README.md"))
	words := len(strings.Fields(page))
	for _, block := range parseMarkdown(page).codeBlocks() {
		words -= len(strings.Fields(block.Text))
	}
	if most := 6500; words > most || words < most/2 {
		t.Errorf("got %d words, want at most %d, and a page that is complete", words, most)
	}
}
