// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/doctest"
)

const root = "../.."

func TestTheGuideToErrorsHoldsWhatTheCatalogueSays(t *testing.T) {
	want, err := doctest.Errors(read(t, "../diagnose/testdata/catalogue.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, root+"/docs/guides/errors.md"); got != want {
		t.Error("docs/guides/errors.md is stale: make generate")
	}
}

func TestTheGuideToErrorsWritesIDsAsTheyAre(t *testing.T) {
	headings := heading.FindAllString(read(t, root+"/docs/guides/errors.md"), -1)
	for _, line := range headings {
		if regexp.MustCompile(`^#+ [A-Z][a-z]*[-:]`).MatchString(line) {
			t.Error(line)
		}
	}
	if len(headings) < 50 {
		t.Errorf("%d headings were looked at", len(headings))
	}
}

// pages are all texts of the repository by their path from its root, with what they include.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			hidden := strings.HasPrefix(name, ".") && path != root && name != ".github"
			if hidden || name == "testdata" || name == "docs-partials" || name == "bin" || name == "dist" {
				return fs.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(name); ext == ".md" || ext == ".mdx" {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found[filepath.ToSlash(relative)] = included(t, read(t, path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var include = regexp.MustCompile(`(?m)^@include '(.*)'$`)

func included(t *testing.T, text string) string {
	return include.ReplaceAllStringFunc(text, func(line string) string {
		return read(t, filepath.Join(root, "docs-partials", include.FindStringSubmatch(line)[1]))
	})
}

func TestNoLinkInsideTheRepositoryIsDead(t *testing.T) {
	all, links := pages(t), 0
	for page, text := range all {
		for _, link := range linksOf(text) {
			to, anchor, _ := strings.Cut(link, "#")
			here := repository.ReplaceAllString(to, "")
			if here == to && strings.Contains(to, ":") { // another site, a mail
				continue
			}
			links++
			if component, ours := strings.CutPrefix(to, site); ours {
				kind, name, _ := strings.Cut(component, "/")
				to = "docs/" + map[string]string{"post-processor": "post-processors", "data-source": "datasources"}[kind] + "/" + name + ".mdx"
			} else if here != to {
				to = here
			} else if to == "" {
				to = page
			} else {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(page), to))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s: %s leads nowhere", page, link)
				continue
			}
			if anchor == "" {
				continue
			}
			target, ok := all[to]
			if !ok { // what is rendered, in a hidden folder
				target = read(t, filepath.Join(root, to))
			}
			if !anchors(target)[anchor] {
				t.Errorf("%s: %s: there is no such heading", page, link)
			}
		}
	}
	if links < 50 {
		t.Errorf("%d links were looked at", links)
	}
}

// Where the sources of the site's pages are shown, an include is a bare line and no option is there.
func TestNoPageSendsReadersToOneWithoutItsOptions(t *testing.T) {
	for page, text := range pages(t) {
		if page == "AGENTS.md" { // for those who change them
			continue
		}
		for _, link := range linksOf(text) {
			if to, _, _ := strings.Cut(link, "#"); strings.HasSuffix(to, ".mdx") {
				t.Errorf("%s: %s: link to what is rendered of it, under .web-docs", page, link)
			}
		}
	}
}

// What the guide opens of the source's key is no more than the documented policy, here for the account of the guide.
func TestTheGuideToAutoScalingOpensTheKeyAsTheDocumentedPolicy(t *testing.T) {
	_, text, _ := strings.Cut(read(t, root+"/docs/guides/auto-scaling.md"), "cat > launch-key.json <<'END'\n")
	text, _, _ = strings.Cut(text, "END\n")
	guide := statements(t, text)[1:] // the first is for the key's own account
	documented := statements(t, strings.ReplaceAll(read(t, root+"/docs/policies/share-key.json"), "888888888888", target))
	for _, all := range [][]map[string]any{guide, documented} {
		for _, s := range all {
			delete(s, "Sid")
		}
	}
	if !reflect.DeepEqual(guide, documented) {
		t.Errorf("the guide has\n%v\nthe policy\n%v", guide, documented)
	}
}

// statements are those of a policy, with a list for every single text.
func statements(t *testing.T, policy string) []map[string]any {
	t.Helper()
	var read struct{ Statement []map[string]any }
	if err := json.Unmarshal([]byte(policy), &read); err != nil {
		t.Fatal(err)
	}
	var lists func(v any) any
	lists = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name := range v {
				v[name] = lists(v[name])
			}
		case string:
			return []any{v}
		}
		return v
	}
	for _, s := range read.Statement {
		lists(s)
	}
	return read.Statement
}

var deployed = regexp.MustCompile(`aws cloudformation deploy (?:.*\\\n)*.*`)

// A stack is not made while a parameter has neither a value nor a default.
func TestEveryStackOfThePagesIsGivenItsParameters(t *testing.T) {
	stacks := 0
	for page, text := range pages(t) {
		for _, command := range deployed.FindAllString(text, -1) {
			stacks++
			words := strings.Fields(strings.ReplaceAll(command, "\\\n", " "))
			given := map[string]bool{}
			var file string
			for i, word := range words {
				if word == "--template-file" {
					file = filepath.Base(words[i+1])
				} else if name, _, is := strings.Cut(word, "="); is {
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
					t.Errorf("%s: %s is not given %s", page, file, name)
				}
				delete(given, name)
			}
			for name := range given {
				t.Errorf("%s: %s has no %s", page, file, name)
			}
		}
	}
	if stacks == 0 {
		t.Error("no page makes a stack")
	}
}

// What HashiCorp's site shows has no files beside it.
func TestTheSitesPagesLinkToNoFiles(t *testing.T) {
	compiled, err := filepath.Glob(root + "/.web-docs/components/*/*/README.md")
	if err != nil || len(compiled) != 2 {
		t.Fatalf("%q, %v", compiled, err)
	}
	for _, page := range append(compiled, root+"/.web-docs/README.md") {
		for _, link := range linksOf(read(t, page)) {
			if !strings.HasPrefix(link, "#") && !strings.HasPrefix(link, "https://") && !strings.HasPrefix(link, "/packer/") {
				t.Errorf("%s: %s", page, link)
			}
		}
	}
}

// repository is how the site's pages name a file here.
var repository = regexp.MustCompile(`^https://github\.com/encrypted-ami/packer-plugin-encrypted-ami/(tree|blob)/main/`)

// site is where HashiCorp shows the components, each by its kind and name.
const site = "/packer/integrations/encrypted-ami/encrypted-ami/latest/components/"

var (
	fence   = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```")
	inline  = regexp.MustCompile("`[^`\n]*`")
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.*)$`)
	letters = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func linksOf(text string) (links []string) {
	text = inline.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
	for _, match := range linked.FindAllStringSubmatch(text, -1) {
		links = append(links, match[1])
	}
	return links
}

// anchors are those that GitHub makes of the headings.
func anchors(text string) map[string]bool {
	made := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		words := strings.TrimSpace(strings.NewReplacer(`\`, "", "`", "").Replace(regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(match[1], "$1")))
		name := strings.ReplaceAll(letters.ReplaceAllString(strings.ToLower(words), ""), " ", "-")
		for n, unique := 1, name; ; n++ {
			if !made[unique] {
				made[unique] = true
				break
			}
			unique = name + "-" + strconv.Itoa(n)
		}
	}
	return made
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
