// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// markdown is a parsed page in GitHub's dialect.
type markdown struct {
	source []byte
	root   ast.Node
	offset int // lines of front matter, which is not Markdown
}

// codeBlock is a fenced or an indented block of code.
type codeBlock struct {
	Language string // empty for an indented block
	Text     string
	Line     int // of the first line of Text in the page
}

func parseMarkdown(page string) markdown {
	body, offset := page, 0
	if rest, found := strings.CutPrefix(page, "---\n"); found {
		if _, after, closed := strings.Cut(rest, "\n---\n"); closed {
			body = after
			offset = strings.Count(page[:len(page)-len(body)], "\n")
		}
	}
	source := []byte(body)
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	return markdown{source: source, root: parser.Parse(text.NewReader(source)), offset: offset}
}

// walk calls visit for every node, parents first.
func (m markdown) walk(visit func(ast.Node)) {
	// The only errors of Walk are those of its callback.
	_ = ast.Walk(m.root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			visit(n)
		}
		return ast.WalkContinue, nil
	})
}

// links returns the destinations of links and images, and bare URLs.
func (m markdown) links() []string {
	var found []string
	m.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Link:
			found = append(found, string(n.Destination))
		case *ast.Image:
			found = append(found, string(n.Destination))
		case *ast.AutoLink:
			found = append(found, string(n.URL(m.source)))
		}
	})
	return found
}

// headings returns the texts of the headings without markup.
func (m markdown) headings() []string {
	var found []string
	m.walk(func(n ast.Node) {
		if heading, ok := n.(*ast.Heading); ok {
			found = append(found, m.plainText(heading))
		}
	})
	return found
}

// anchors returns the fragments that GitHub gives to the headings.
func (m markdown) anchors() map[string]bool {
	found := map[string]bool{}
	for _, heading := range m.headings() {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsNumber(r), r == '_', r == '-':
				return unicode.ToLower(r)
			}
			return -1
		}, heading)
		unique := name
		for n := 1; found[unique]; n++ {
			unique = name + "-" + strconv.Itoa(n)
		}
		found[unique] = true
	}
	return found
}

// codeBlocks returns the code blocks, including those in lists and quotations.
func (m markdown) codeBlocks() []codeBlock {
	var found []codeBlock
	m.walk(func(n ast.Node) {
		var language string
		switch n := n.(type) {
		case *ast.FencedCodeBlock:
			language = string(n.Language(m.source))
		case *ast.CodeBlock:
		default:
			return
		}
		if lines := n.Lines(); lines.Len() > 0 {
			line := m.offset + 1 + strings.Count(string(m.source[:lines.At(0).Start]), "\n")
			found = append(found, codeBlock{Language: language, Text: string(lines.Value(m.source)), Line: line})
		}
	})
	return found
}

// codeSpans returns the code inside of sentences.
func (m markdown) codeSpans() []string {
	var found []string
	m.walk(func(n ast.Node) {
		if n.Kind() == ast.KindCodeSpan {
			found = append(found, m.plainText(n))
		}
	})
	return found
}

// plainText returns the text of a node without markup.
func (m markdown) plainText(parent ast.Node) string {
	var plain strings.Builder
	_ = ast.Walk(parent, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			plain.Write(n.Value(m.source))
			if n.SoftLineBreak() {
				plain.WriteByte(' ')
			}
		case *ast.String:
			plain.Write(n.Value)
		case *ast.AutoLink:
			plain.Write(n.Label(m.source))
		}
		return ast.WalkContinue, nil
	})
	return plain.String()
}

const samplePage = `---
title: Sample
---

# One ` + "`code` [link](a.md)" + `

Text ` + "`[code](no.md)`" + ` and ![picture](b.png), <https://example.com>.

## Twice
## Twice
- item

  ~~~hcl
  [no](link.md)
  ~~~

      indented
`

func TestMarkdown(t *testing.T) {
	page := parseMarkdown(samplePage)
	if got, want := page.links(), []string{"a.md", "b.png", "https://example.com"}; !slices.Equal(got, want) {
		t.Errorf("got the links %q, want %q", got, want)
	}
	anchors := slices.Sorted(maps.Keys(page.anchors()))
	if got, want := anchors, []string{"one-code-link", "twice", "twice-1"}; !slices.Equal(got, want) {
		t.Errorf("got the anchors %q, want %q", got, want)
	}
	if got, want := page.codeSpans(), []string{"code", "[code](no.md)"}; !slices.Equal(got, want) {
		t.Errorf("got the code spans %q, want %q", got, want)
	}
	want := []codeBlock{{Language: "hcl", Text: "[no](link.md)\n", Line: 14}, {Text: "indented\n", Line: 17}}
	if got := page.codeBlocks(); !slices.Equal(got, want) {
		t.Errorf("got the code blocks %+v, want %+v", got, want)
	}
}
