// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	// repository is the prefix of links to files of the repository on pages of HashiCorp's site. It is followed by tree or
	// blob.
	repository = "https://github.com/encrypted-ami/packer-plugin-encrypted-ami/"
	// site is the path of the components on HashiCorp's site. It is followed by their kind and name.
	site = "/packer/integrations/encrypted-ami/encrypted-ami/latest/components/"
)

func TestLinks_leadSomewhere(t *testing.T) {
	texts, links := pages(t), 0
	for page, text := range texts {
		for _, link := range parseMarkdown(text).links() {
			file, internal := resolveLink(page, link)
			if !internal {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %s: no such file", page, link)
				continue
			}
			_, fragment, found := strings.Cut(link, "#")
			if !found {
				continue
			}
			target, ok := texts[file]
			if !ok { // pages in hidden folders
				target = read(t, filepath.Join(root, file))
			}
			if !parseMarkdown(target).anchors()[fragment] {
				t.Errorf("%s: %s: no such heading", page, link)
			}
		}
	}
	if links < 50 {
		t.Errorf("got %d links, want 50 or more", links)
	}
}

// resolveLink returns the file of the repository that a link of a page leads to. The result is false for other sites.
func resolveLink(page, link string) (file string, internal bool) {
	link, _, _ = strings.Cut(link, "#")
	if rest, ok := strings.CutPrefix(link, repository); ok {
		for _, kind := range []string{"tree/main/", "blob/main/"} {
			if file, ok := strings.CutPrefix(rest, kind); ok {
				return file, true
			}
		}
	}
	if component, ok := strings.CutPrefix(link, site); ok {
		kind, name, _ := strings.Cut(component, "/")
		folder := map[string]string{"post-processor": "post-processors", "data-source": "datasources"}[kind]
		return "docs/" + folder + "/" + name + ".mdx", true
	}
	switch {
	case strings.Contains(link, ":"): // a URL or an e-mail address
		return "", false
	case link == "":
		return page, true
	}
	return path.Join(path.Dir(page), link), true
}

func TestResolveLink(t *testing.T) {
	for link, want := range map[string]string{
		"#cost":                          "docs/guides/ci.md",
		"resume.md#resume":               "docs/guides/resume.md",
		"../../README.md":                "README.md",
		repository + "blob/main/LICENSE": "LICENSE",
		repository + "tree/main/example": "example",
		repository + "releases":          "",
		site + "data-source/preflight":   "docs/datasources/preflight.mdx",
		"https://aws.amazon.com":         "",
		"mailto:security@example.com":    "",
	} {
		if got, internal := resolveLink("docs/guides/ci.md", link); got != want || internal != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", link, got, internal, want)
		}
	}
}

// Pages in docs/ contain include directives instead of options, so no link may lead to them.
func TestLinks_notToSourcesOfSite(t *testing.T) {
	for page, text := range pages(t) {
		if page == "AGENTS.md" { // it is about the sources
			continue
		}
		for _, link := range parseMarkdown(text).links() {
			if file, _, _ := strings.Cut(link, "#"); strings.HasSuffix(file, ".mdx") {
				t.Errorf("%s: %s: want a link to the rendered page in .web-docs", page, link)
			}
		}
	}
}

// HashiCorp's site has only the pages, so links to other files of the repository must be absolute.
func TestLinks_ofSiteAreAbsolute(t *testing.T) {
	components := must(filepath.Glob(root + "/.web-docs/components/*/*/README.md"))(t)
	if len(components) != 2 {
		t.Fatalf("got the components %q, want 2", components)
	}
	absolute := regexp.MustCompile(`^(#|https://|/packer/)`)
	for _, page := range append(components, root+"/.web-docs/README.md") {
		for _, link := range parseMarkdown(read(t, page)).links() {
			if !absolute.MatchString(link) {
				t.Errorf("%s: got the link %s, want an absolute one", page, link)
			}
		}
	}
}
