// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Markdown is the document as GitHub and GitLab show it, fit for the summary of a CI job: with the drawing in Mermaid's language.
func (d Document) Markdown() []byte {
	var t text
	t.line("# %s %s\n", glyph(d.Outcome), words(d.Headline))
	for _, s := range d.Sources {
		t.line("AMI %s in %s%s", code(s.ImageID), code(s.Region), behind(" of account ", code(s.Account)))
	}
	t.line("\nRun %s, begun %s UTC, %s after %s; expected were %s.\n", d.Outcome, clock(d.Begun), tense(d), Duration(d.end().Sub(d.Begun)), Duration(d.Costs.Takes))
	if d.Failure != "" {
		t.line("> %s\n", strings.ReplaceAll(words(d.Failure), "<br>", "<br>\n> "))
	}
	t.mermaid(d.Drawing)
	t.markdownFindings(d.Findings)
	t.decisions(d.Sources)
	t.table(d.Destinations)
	t.shared(d.Shares)
	t.granted(d.Grants)
	t.copyTable(d)
	t.attributeTable(d)
	t.line("## Costs\n")
	t.line("%s of snapshots planned, %s at full size, %s between Regions; %s stored by the targets, %s left behind.\n",
		distribution.Count(d.Costs.Copies, "copy", "copies"), size(d.Costs.GiBStored), size(d.Costs.GiBTransferred), size(d.Costs.Owned), size(d.Costs.Left))
	t.line("At list price %s.\n", words(costText(d.Costs.Estimate)))
	t.leftovers(d)
	return []byte(t.text() + "\n")
}

func tense(d Document) string {
	if d.Ended.IsZero() {
		return "as it stood"
	}
	return "ended"
}

func behind(lead, code string) string {
	if code == "" {
		return ""
	}
	return lead + code
}

func (t *text) mermaid(d Drawing) {
	if len(d.Nodes) == 0 {
		return
	}
	t.line("```mermaid\nflowchart LR")
	for _, n := range d.Nodes {
		lines := []string{n.Name, n.Region, fmt.Sprintf("%d of %d served", n.Served, n.All())}
		switch {
		case n.Kind == FromSource:
			lines = []string{"source image " + n.Account, n.Name, n.Region + ", " + size(n.GiB)}
		case n.Kind == AsStaged:
			lines = []string{"staged " + n.Account, n.Region, distribution.Count(n.Copies, "copy", "copies") + ", " + size(n.GiB)}
		case n.Name == "":
			lines[0] = "all targets"
		}
		if n.Failed > 0 {
			lines = append(lines, fmt.Sprintf("%d without an image", n.Failed))
		}
		for i := range lines {
			lines[i] = label(lines[i])
		}
		t.line("  %s[\"%s\"]", n.ID, strings.Join(lines, "<br/>"))
	}
	for _, e := range d.Edges {
		arrow, moved := "-->", "no copy needed"
		if e.Across {
			arrow = "-.->"
		}
		if e.Copies > 0 {
			moved = distribution.Count(e.Copies, "copy", "copies") + ", " + size(e.GiB)
		}
		t.line("  %s %s|\"%s\"| %s", e.From, arrow, label(moved), e.To)
	}
	t.line("```\n")
}

// mostInMarkdown is how many findings and leftovers are told: GitHub takes a mebibyte of summary from a job.
const mostInMarkdown = 50

func (t *text) markdownFindings(all []Finding) {
	if len(all) == 0 {
		return
	}
	t.line("## Findings\n")
	for _, f := range all[:min(len(all), mostInMarkdown)] {
		place := ""
		if f.Account != "" {
			place = ", " + code(f.Account) + " " + code(f.Region)
		}
		t.line("- %s **%s**%s%s: %s", glyph(f.Level), f.Level, behind(", ", code(f.Field)), place, words(f.Summary))
		t.line("%s%s%s", behind("  <br>because: ", words(f.Because)), behind("  <br>next: ", words(f.Next)), behind("  <br>called by: ", code(f.Principal)))
		for _, a := range f.Policies {
			t.line("  <br>add to the %s:", words(a.Policy))
			for _, s := range a.Statements {
				t.line("  <br>%s", code(s))
			}
		}
	}
	t.beyond(len(all))
}

func (t *text) beyond(all int) {
	if all > mostInMarkdown {
		t.line("\n%d more are in the manifest and in the report as JSON.", all-mostInMarkdown)
	}
	t.line("")
}

func (t *text) decisions(all []Source) {
	for _, s := range all {
		if len(s.Volumes) == 0 {
			continue
		}
		t.line("## What was decided for %s\n", code(s.ImageID))
		t.line("| Volume | Snapshot | GiB | Encrypted with | Decision |\n|---|---|---:|---|---|")
		for _, v := range s.Volumes {
			key, decision := "not encrypted", "nothing is planned for it"
			if v.Key != "" {
				key = code(keyName(v.Key, s.Account, s.Region))
			}
			switch {
			case v.Staged:
				decision = "staged under " + code(keyName(v.StageKey, s.Account, s.Region)) + ": " + words(v.Why)
			case v.Why != "":
				decision = "used as it is: " + words(v.Why)
			}
			t.line("| %s | %s | %d | %s | %s |", code(v.Device), code(v.SnapshotID), v.GiB, key, decision)
		}
		t.line("")
		if len(s.Causes) == 1 {
			t.line("It is encrypted because %s.\n", words(s.Causes[0]))
		}
		if len(s.Causes) > 1 {
			t.line("It is encrypted; it cannot be told which of these is the cause:\n")
			for _, cause := range s.Causes {
				t.line("- %s", words(cause))
			}
			t.line("")
		}
	}
}

func (t *text) table(all []Destination) {
	if len(all) == 0 {
		return
	}
	t.line("## Destinations\n")
	t.fold(len(all), "destinations", func() {
		t.line("| Account | Region | State | Image | Target | Name | Took |\n|---|---|---|---|---|---|---:|")
		for _, d := range all {
			image, took := code(d.ImageID), ""
			if d.ImageID == "" {
				image = words(d.Why)
			}
			if !d.Begun.IsZero() && !d.Ended.IsZero() {
				took = Duration(d.Ended.Sub(d.Begun))
			}
			t.line("| %s | %s | %s %s | %s | %s | %s | %s |", code(d.Account), code(d.Region), glyph(d.State), d.State, image, words(d.Target), words(d.Name), took)
		}
	})
}

func (t *text) shared(all []Share) {
	if len(all) == 0 {
		return
	}
	t.line("## Shared to be launched\n")
	for _, s := range all {
		state := "not shared"
		if s.Done {
			state = "shared"
		}
		image := ""
		if s.ImageID != "" {
			image = code(s.ImageID) + " in "
		}
		t.line("- %s: %s%s %s, %s, with %s", words(s.Names), image, code(s.Account), code(s.Region), state, words(s.With))
	}
	t.line("")
}

func (t *text) granted(all []Grant) {
	if len(all) == 0 {
		return
	}
	t.line("## Grants on keys\n")
	t.fold(len(all), "grants", func() {
		t.line("| Account | Region | May use | the key | for | Grant | |\n|---|---|---|---|---|---|---|")
		for _, g := range all {
			state := "missing"
			if g.Done {
				state = "stands"
			}
			t.line("| %s | %s | %s | %s | %s | %s | %s |", code(g.Account), code(g.Region), code(g.Grantee), code(g.Key), words(g.For), code(g.Name), state)
		}
	})
}

// copyTable is the time line: when each copy began, in time of the run, and how long it took.
func (t *text) copyTable(d Document) {
	if len(d.Copies) == 0 {
		return
	}
	t.line("## Time line of the copies\n")
	t.fold(len(d.Copies), "copies", func() {
		t.line("| Account | Region | Volume | GiB | Begun | Took | |\n|---|---|---|---:|---:|---:|---|")
		for _, row := range d.timeLine().Rows {
			for _, b := range row.Bars {
				state := b.State
				if b.Staged {
					state += ", staged"
				}
				t.line("| %s | %s | %s | %d | +%s | %s | %s |", code(b.Account), code(b.Region), code(cmp.Or(b.Device, "image")), b.GiB, Duration(b.Begun.Sub(d.Begun)), Duration(b.Took), state)
			}
		}
	})
}

// fold lets a long table be opened by who wants it.
func (t *text) fold(n int, what string, table func()) {
	const short = 20
	if n > short {
		t.line("<details><summary>%d %s</summary>\n", n, what)
	}
	table()
	if n > short {
		t.line("\n</details>")
	}
	t.line("")
}

func (t *text) attributeTable(d Document) {
	if len(d.Fidelity) == 0 {
		return
	}
	t.line("## What the images carry over\n")
	by := d.attributes()
	for _, a := range by[string(distribution.Lost)] {
		t.line("- lost: %s, %s", code(a.Name), words(a.Why))
	}
	for _, how := range []distribution.AttributeHandling{distribution.Set, distribution.Kept} {
		var names []string
		for _, a := range by[string(how)] {
			names = append(names, code(a.Name))
		}
		if len(names) > 0 {
			t.line("- %s: %s", how, strings.Join(names, ", "))
		}
	}
	t.line("")
}

func (t *text) leftovers(d Document) {
	t.line("## Left behind\n")
	switch {
	case d.Ended.IsZero():
		t.line("What stays is known at the end of the run.")
	case len(d.Left) == 0:
		t.line("0 shares, 0 grants, 0 staged GiB")
	default:
		for _, l := range d.Left[:min(len(d.Left), mostInMarkdown)] {
			gib := ""
			if l.GiB > 0 {
				gib = ", " + size(l.GiB)
			}
			t.line("- %s %s in %s %s%s: %s", words(l.Kind), code(l.Resource), code(l.At.Account), code(l.At.Region), gib, words(l.Why))
		}
		t.beyond(len(d.Left))
		if cost := leftCost(d.Left); cost != "" {
			t.line("\nTogether %s%s.", size(d.Costs.Left), words(cost))
		}
	}
}

// words is text of others in Markdown: what could be markup, of Markdown, of HTML or of GitHub, is a character reference, which is
// never markup (CommonMark 2.5).
func words(foreign string) string {
	var out strings.Builder
	for i, r := range foreign {
		switch {
		case r == '.' && strings.HasSuffix(strings.ToLower(foreign[:i]), "www"): // GitHub makes links of such names
			out.WriteString("&#46;")
		case r == '\n':
			out.WriteString("<br>")
		case strings.ContainsRune("\\`*_{}[]<>()#+!|~$@&:^=\"", r):
			fmt.Fprintf(&out, "&#%d;", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// code is text of others as code, "" for none. An id needs no more than backticks.
func code(foreign string) string {
	switch {
	case foreign == "":
		return ""
	case strings.IndexFunc(foreign, func(r rune) bool { return !plain(r) && !strings.ContainsRune("/:_.-", r) }) < 0:
		return "`" + foreign + "`"
	}
	return "<code>" + words(foreign) + "</code>"
}

// label is text of others in a drawing of Mermaid's, which has character references of its own.
func label(foreign string) string {
	var out strings.Builder
	for _, r := range foreign {
		if !plain(r) && !strings.ContainsRune(" ,./_-", r) {
			fmt.Fprintf(&out, "#%d;", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func plain(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
