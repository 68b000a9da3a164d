// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
)

// tags counts the elements of a page by their names and the names of their attributes.
func tags(t *testing.T, page string) map[string]int {
	t.Helper()
	found := map[string]int{}
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(page, "<!DOCTYPE html>")))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, is := token.(xml.StartElement); is {
			names := []string{e.Name.Local}
			for _, a := range e.Attr {
				names = append(names, a.Name.Local)
			}
			found[strings.Join(names, " ")]++
		}
	}
}

func TestHTML_foreignTextIsNoMarkup(t *testing.T) {
	p, r := reporttest.Poisoned("harmless")
	want := tags(t, page(t, reporttest.NewManifest(p, r)))
	if want["script"] > 0 || want["meta http-equiv content"] != 1 {
		t.Fatalf("the harmless page: %v", want)
	}
	for _, text := range reporttest.Hostile {
		p, r := reporttest.Poisoned(text)
		html := page(t, reporttest.NewManifest(p, r))
		if got := tags(t, html); !reflect.DeepEqual(got, want) {
			t.Errorf("%q changes the elements of the page: %v", text, got)
		}
		if strings.ContainsAny(html, "\x00\x1b\u202e") {
			t.Errorf("%q: what is not printable is in the page", text)
		}
	}
}

// active matches what GitHub's Markdown interprets and a report never writes itself.
var active = regexp.MustCompile(
	`\]\(|!\[|\[x|https?:|www\.|@[a-z]|[$]|[{}]|~~|__|javascript:|:boom:|[*][*]bold|&[^#]|\\|[^&]#[0-9]`,
)

// inert matches code, which Markdown does not interpret. The drawing has its own test.
var inert = regexp.MustCompile("(?s)```mermaid\n.*?\n```\n|`[^`\n]*`")

// withoutFences returns a text without its blocks of commands and statements, which Markdown leaves alone. As in
// Markdown, a block ends at a line of at least as many backticks.
func withoutFences(text string) string {
	var rest []string
	mark := ""
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		ticks := trimmed[:len(trimmed)-len(strings.TrimLeft(trimmed, "`"))]
		language := strings.TrimPrefix(trimmed, ticks)
		switch isFence := len(ticks) >= 3; {
		case mark == "" && isFence && (language == "sh" || language == "json"):
			mark = ticks
		case mark != "" && isFence && language == "" && len(ticks) >= len(mark):
			mark = ""
		case mark == "":
			rest = append(rest, line)
		}
	}
	return strings.Join(rest, "\n")
}

// elements are the HTML elements that a report writes into its Markdown.
var elements = []string{"<br>", "<br/>", "<code>", "</code>", "<details>", "</details>", "<summary>", "</summary>"}

func TestMarkdown_foreignTextIsNoMarkup(t *testing.T) {
	p, r := reporttest.Poisoned("harmless")
	want := strings.Split(withoutFences(string(reporttest.NewManifest(p, r).Markdown())), "\n")
	for _, text := range reporttest.Hostile {
		p, r := reporttest.Poisoned(text)
		got := withoutFences(string(reporttest.NewManifest(p, r).Markdown()))
		for _, found := range active.FindAllString(inert.ReplaceAllString(got, ""), -1) {
			t.Errorf("%q: %q", text, found)
		}
		for _, element := range regexp.MustCompile("<[^>]*>").FindAllString(strings.ReplaceAll(got, "<br/>", ""), -1) {
			if !slices.Contains(elements, element) {
				t.Errorf("%q: %q", text, element)
			}
		}
		lines := strings.Split(got, "\n")
		if strings.Contains(text, "\n") { // the reason why a run failed keeps its lines, as a quotation
			lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "> ") && line != lines[6] })
		}
		if len(lines) != len(want) {
			t.Errorf("%q: %d lines, want %d:\n%s", text, len(lines), len(want), got)
			continue
		}
		for i, line := range lines {
			head := func(line string) string { return line[:min(len(line), 2)] }
			if strings.Count(line, "|") != strings.Count(want[i], "|") ||
				strings.Count(line, "`")%2 != strings.Count(want[i], "`")%2 || head(line) != head(want[i]) {
				t.Errorf("%q: %q, want as %q", text, line, want[i])
			}
		}
	}
}

func TestMarkdown_graphNodes(t *testing.T) {
	for _, text := range reporttest.Hostile {
		p, r := reporttest.Poisoned(text)
		d := reporttest.NewManifest(p, r)
		_, graph, _ := strings.Cut(string(d.Markdown()), "```mermaid\nflowchart LR\n")
		graph, _, _ = strings.Cut(graph, "```\n")
		node, edge := regexp.MustCompile(`^  n\d\d\["[-A-Za-z0-9 ,./_#;<>]*"\]$`), regexp.MustCompile(
			`^  n\d\d (-->|-\.->)\|"[-A-Za-z0-9 ,./_#;]*"\| n\d\d$`,
		)
		nodes, edges := 0, 0
		for line := range strings.Lines(graph) {
			switch line = strings.TrimSuffix(line, "\n"); {
			case node.MatchString(line) && !strings.Contains(strings.ReplaceAll(line, "<br/>", ""), "<"):
				nodes++
			case edge.MatchString(line):
				edges++
			default:
				t.Errorf("%q: %q", text, line)
			}
		}
		if nodes != len(d.Drawing().Nodes) || edges != len(d.Drawing().Edges) {
			t.Errorf("%q: %d nodes and %d edges", text, nodes, edges)
		}
	}
}
