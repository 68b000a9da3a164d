// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Markdown returns the report for GitHub and GitLab, for example for the summary of a CI job. It has a Mermaid diagram.
func (m Manifest) Markdown() []byte {
	var t text
	t.line("# %s %s\n", glyph(m.Status), words(m.Headline()))
	for _, s := range m.SourceAMIs {
		t.line("AMI %s in %s%s", code(s.AMIID), code(s.Region), behind(" of account ", code(string(s.AccountID))))
	}
	ended := "ended"
	if m.Run.EndedAt.IsZero() {
		ended = "updated"
	}
	t.line("\nRun %s, started %s UTC, %s after %s, expected %s.\n", m.Status.Label(), clock(m.Run.StartedAt),
		ended, Duration(m.end().Sub(m.Run.StartedAt.Time)), Duration(m.Estimate.duration()))
	t.failure(m)
	if held := m.Held(); held != nil {
		t.line("%s\n", words(held[0]))
		t.fence("", "sh", held[1])
	}

	t.mermaid(m.Drawing())
	t.markdownFindings(m, "Findings", m.remarks())
	t.decisions(m.SourceAMIs)
	t.usageTable(m.Usage)
	t.destinationTable(m)
	t.shareList(m.Shares)
	t.grantTable(m.permanentGrants())
	t.copyTable(m)
	t.attributeList(m)
	t.line("## Cost\n")
	retained, forResume := m.retained(), ""
	if gib := retained.ForResume.GiB(); gib > 0 {
		forResume = ", " + size(gib) + " kept for the resumed run"
	}
	t.line("%s of snapshots planned, %s at full size, %s between Regions; %s stored by the copies%s, %s left behind.\n",
		distribution.Count(m.Estimate.Copies, "copy", "copies"), size(m.Estimate.CopiedGiB), size(m.Estimate.CrossRegionGiB),
		size(m.storedGiB()), forResume, size(retained.Left.GiB()))
	t.line("%s.\n", words(m.Estimate.costText()))
	t.retainedResources(m)
	return []byte(t.text() + "\n")
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
		lines := []string{n.Name, n.Region, fmt.Sprintf("%d of %d succeeded", n.Served, n.All())}
		switch {
		case n.Kind == FromSource:
			lines = []string{strings.TrimSpace("source AMI " + n.Account), n.Name, n.Region + n.sizeSuffix()}
		case n.Kind == AsStaged:
			lines = []string{
				"staged " + n.Account,
				n.Region,
				distribution.Count(n.Copies, "copy", "copies") + ", " + size(n.GiB),
			}
		case n.Name == "":
			lines[0] = "all targets"
		}
		if without := n.Without(); without != "" {
			lines = append(lines, without)
		}
		for i := range lines {
			lines[i] = label(lines[i])
		}
		t.line("  %s[\"%s\"]", n.ID, strings.Join(lines, "<br/>"))
	}
	for _, e := range d.Edges {
		arrow, moved := "-->", e.emptyText()
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

// mostInMarkdown is the number of findings and retained resources shown. GitHub limits a job's summary to 1 MiB.
const mostInMarkdown = 50

// failure writes why the run failed, and the command that resumes it.
func (t *text) failure(m Manifest) {
	if m.Error != "" {
		t.line("> %s\n", strings.ReplaceAll(words(string(m.Error)), "<br>", "<br>\n> "))
	}
	t.markdownFindings(m, "Why the run failed", m.causes())
	if m.Resume != nil {
		t.line("## Resume the run\n")
		t.fence("", "sh", m.Resume.Command)
		t.line("If you correct an option in your template, correct it in %s as well. To give up and clean up:\n",
			code(m.Resume.File))
		t.fence("", "sh", m.Resume.CleanupCommand)
	}
}

func (t *text) markdownFindings(m Manifest, title string, all []Finding) {
	if len(all) == 0 {
		return
	}
	t.line("## %s\n", title)
	for _, f := range all[:min(len(all), mostInMarkdown)] {
		t.line("- %s **%s**%s%s: %s", glyph(f.Severity), f.Severity,
			behind(", ", code(string(f.Option))), behind(", ", words(m.hits(f))), words(f.Summary))
		for _, paragraph := range []string{
			words(string(f.Detail)),
			behind("AWS: ", words(awsError(string(f.AWSErrorCode), string(f.AWSErrorMessage)))),
			behind("Next step: ", words(string(f.NextStep))),
			behind("Called by: ", code(string(f.Principal))),
		} {
			if paragraph != "" {
				t.line("\n  %s", paragraph)
			}
		}
		for _, lack := range f.lacks() {
			t.line("\n  Add to the %s:\n", words(lack.AttachTo))
			for _, s := range lack.Statements {
				t.fence("  ", "json", indented(s))
			}
		}
	}
	t.beyond(len(all))
}

func (t *text) beyond(all int) {
	if all > mostInMarkdown {
		t.line("\n%d more are in the manifest.", all-mostInMarkdown)
	}
	t.line("")
}

func (t *text) decisions(all []SourceAMI) {
	for _, s := range all {
		if len(s.Volumes) == 0 {
			continue
		}
		t.line("## Volumes of %s\n", code(s.AMIID))
		t.line("| Volume | Snapshot | GiB | Encrypted with | Decision |\n|---|---|---:|---|---|")
		for _, v := range s.Volumes {
			key := "not encrypted"
			if v.KMSKeyARN != "" {
				key = code(keyName(v.KMSKeyAlias, v.KMSKeyARN, string(s.AccountID), s.Region))
			}
			t.line("| %s | %s | %d | %s | %s |", code(v.DeviceName), code(v.SnapshotID), v.SizeGiB, key, decision(s, v))
		}
		t.line("")
		t.encryptionReasons(s.EncryptionReasons)
	}
}

// noDecision is shown for a volume if the run made no decision about it, for example because its plan has errors.
const noDecision = "–"

func decision(s SourceAMI, v Volume) string {
	reason := words(v.reason())
	switch {
	case v.Staged:
		key := keyName(v.StagedKeyAlias, v.StagedKMSKeyARN, string(s.AccountID), s.Region)
		return reason + ": copied with " + code(key) + " first"
	case reason != "":
		return reason
	}
	return noDecision
}

func (t *text) encryptionReasons(reasons []string) {
	switch len(reasons) {
	case 0:
		return
	case 1:
		t.line("The AMI is encrypted because %s.\n", words(reasons[0]))
		return
	}
	t.line("The AMI is encrypted for one of these reasons:\n")
	for _, reason := range reasons {
		t.line("- %s", words(reason))
	}
	t.line("")
}

func (t *text) destinationTable(m Manifest) {
	if len(m.Destinations) == 0 {
		return
	}
	reason, hasReasons, hasPublications := m.reasons(), m.hasReasons(), m.hasPublications()
	t.line("## Destinations\n")
	t.collapse(len(m.Destinations), "destinations", func() {
		head, rule := "| Account | Region | State | AMI | Target | Name | Took |", "|---|---|---|---|---|---|---:|"
		if hasPublications {
			head, rule = head+" Published as |", rule+"---|"
		}
		if hasReasons {
			head, rule = head+" Reason |", rule+"---|"
		}
		t.line("%s\n%s", head, rule)
		for _, d := range m.Destinations {
			took, last := "", ""
			if hasPublications {
				last = " " + publications(d.Published) + " |"
			}
			if hasReasons {
				last += " " + words(reason(d)) + " |"
			}
			if !d.StartedAt.IsZero() && !d.EndedAt.IsZero() {
				took = Duration(d.EndedAt.Sub(d.StartedAt.Time))
			}
			t.line("| %s | %s | %s %s | %s | %s | %s | %s |%s", code(d.AccountID), code(d.Region), glyph(d.Status),
				d.Status.Label(), code(string(d.AMIID)), words(d.Target), words(string(d.AMIName)), took, last)
		}
	})
}

// publications returns what names an AMI, one a line.
func publications(published []Publication) string {
	all := make([]string, len(published))
	for i, p := range published {
		all[i] = words(p.text())
	}
	return strings.Join(all, "<br>")
}

func (t *text) shareList(all []Share) {
	if len(all) == 0 {
		return
	}
	t.line("## Shared without a copy\n")
	for _, s := range all {
		state := "not shared"
		if s.Status == Succeeded {
			state = "shared"
		}
		image := ""
		if s.AMIID != "" {
			image = code(string(s.AMIID)) + " in "
		}
		named := ""
		for _, p := range s.Published {
			named += ", " + words(p.text())
		}
		t.line(
			"- %s: %s%s %s, %s, with %s%s",
			words(s.Name),
			image,
			code(s.AccountID),
			code(s.Region),
			state,
			words(s.audience()),
			named,
		)
	}
	t.line("")
}

func (t *text) grantTable(all []KMSGrant) {
	if len(all) == 0 {
		return
	}
	t.line("## KMS grants\n")
	t.collapse(len(all), "grants", func() {
		t.line("| Account | Region | Grantee | Key | For | Name | State |\n|---|---|---|---|---|---|---|")
		for _, g := range all {
			state := "missing"
			if g.Status == Succeeded {
				state = "created"
			}
			t.line("| %s | %s | %s | %s | %s | %s | %s |", code(g.AccountID), code(g.Region), code(g.GranteePrincipal),
				code(g.KMSKeyARN), words(g.purpose()), code(g.Name), state)
		}
	})
}

// copyTable prints when each copy started, relative to the run, and how long it took.
func (t *text) copyTable(m Manifest) {
	started := len(m.copies())
	if started == 0 {
		return
	}
	t.line("## Timeline of the copies\n")
	counts := m.copyCounts()
	t.line("%d of %d %s.\n", counts.Succeeded, counts.Planned, counts.Text())
	timeLine := m.timeLine()
	if timeLine.Beyond > 0 {
		t.line("The copies of %s ended earlier and are only in the manifest.\n",
			distribution.Count(timeLine.Beyond, "account and Region", "accounts and Regions"))
	}
	t.collapse(started, "copies", func() {
		t.line("| Account | Region | Volume | GiB | Started | Took | |\n|---|---|---|---:|---:|---:|---|")
		for _, row := range timeLine.Rows {
			for _, b := range row.Bars {
				state := b.State
				if b.Staged {
					state += ", staged"
				}
				if b.Reused {
					state += ", reused"
				}
				t.line("| %s | %s | %s | %d | +%s | %s | %s |", code(b.AccountID), code(b.Region),
					code(cmp.Or(string(b.DeviceName), "AMI")), b.SizeGiB,
					Duration(b.StartedAt.Sub(m.Run.StartedAt.Time)), Duration(b.Took), state)
			}
		}
	})
}

// collapse hides a long table until a reader opens it.
func (t *text) collapse(n int, what string, table func()) {
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

func (t *text) attributeList(m Manifest) {
	attributes := m.attributes()
	if len(attributes) == 0 {
		return
	}
	t.line("## Attributes of the copies\n")
	for _, a := range attributes[lost] {
		t.line("- lost: %s, %s", code(a.Name), words(string(a.Reason)))
	}
	for _, outcome := range []struct{ key, text string }{{changed, "set"}, {kept, "kept"}} {
		var names []string
		for _, a := range attributes[outcome.key] {
			names = append(names, code(a.Name))
		}
		if len(names) > 0 {
			t.line("- %s: %s", outcome.text, strings.Join(names, ", "))
		}
	}
	t.line("")
}

func (t *text) retainedResources(m Manifest) {
	if m.Mode == PlanOnly || m.Mode == Verify || m.Mode == Usage { // such a run creates nothing
		return
	}
	retained := m.retained()
	if len(retained.ForResume) > 0 {
		t.line("## Kept for the resumed run\n")
		t.resourceList(retained.ForResume)
	}
	t.line("## Left behind\n")
	switch {
	case m.Run.EndedAt.IsZero():
		t.line("Known at the end of the run.")
	case len(retained.Left) == 0:
		t.line("Nothing is left behind.")
	default:
		t.resourceList(retained.Left)
	}
}

// resourceList writes a line for each resource, and what they cost together.
func (t *text) resourceList(all retainedResources) {
	for _, l := range all[:min(len(all), mostInMarkdown)] {
		gib := ""
		if l.SizeGiB > 0 {
			gib = ", " + size(int64(l.SizeGiB))
		}
		t.line(
			"- %s %s in %s %s%s: %s",
			words(l.Kind),
			code(l.ResourceID),
			code(l.AccountID),
			code(l.Region),
			gib,
			words(l.Reason),
		)
	}
	t.beyond(len(all))
	if cost := all.cost(); cost != "" {
		t.line("\nTogether %s, %s.\n", size(all.GiB()), words(cost))
	}
}

// fence writes a block of code, in a list item if it is indented. The text cannot end the block, because the fence is
// longer than the text's own backticks.
func (t *text) fence(indent, language, foreign string) {
	mark := "```"
	for strings.Contains(foreign, mark) {
		mark += "`"
	}
	t.line("%s%s%s", indent, mark, language)
	for line := range strings.SplitSeq(foreign, "\n") {
		t.line("%s%s", indent, clean(line))
	}
	t.line("%s%s\n", indent, mark)
}

// indented returns a JSON document with one element a line. It returns any other text unchanged.
func indented(document string) string {
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(document), "", "  "); err != nil {
		return document
	}
	return out.String()
}

// names matches the parts of a text that read best as code: ARNs, actions, options, and amounts of money.
var names = regexp.MustCompile(`[A-Za-z0-9/][A-Za-z0-9_:/.*+-]*|\$[0-9]+(\.[0-9]+)?`)

// words escapes a text from AWS or from the template for Markdown. ARNs, actions and option names become code, so that
// they stay readable in a terminal.
func words(foreign string) string {
	var out strings.Builder
	end := 0
	for _, at := range names.FindAllStringIndex(foreign, -1) {
		name := strings.TrimRight(foreign[at[0]:at[1]], ".:+-")
		isCode := strings.ContainsAny(name, "_:*$") && strings.IndexFunc(name, isLetterOrDollar) >= 0
		if !isCode {
			continue
		}
		out.WriteString(escape(foreign[end:at[0]]))
		out.WriteString("`" + name + "`")
		end = at[0] + len(name)
	}
	out.WriteString(escape(foreign[end:]))
	return out.String()
}

func isLetterOrDollar(r rune) bool { return r == '$' || plain(r) && (r < '0' || r > '9') }

// escape writes characters that could be markup of Markdown, HTML or GitHub as character references (CommonMark 2.5).
func escape(foreign string) string {
	var out strings.Builder
	for i, r := range foreign {
		switch {
		case r == '.' && strings.HasSuffix(strings.ToLower(foreign[:i]), "www"): // GitHub makes links of such names
			out.WriteString("&#46;")
		case r == '\n':
			out.WriteString("<br>")
		case r == ':' && (i+1 == len(foreign) || foreign[i+1] == ' '): // such a colon begins neither a link nor an emoji
			out.WriteRune(r)
		case strings.ContainsRune("\\`*_{}[]<>#|~$@&:", r), i == 0 && strings.ContainsRune("+=", r):
			fmt.Fprintf(&out, "&#%d;", r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// code formats a text from AWS or from the template as code. If backticks or a pipe in it would end the code or the
// table cell, it becomes an HTML element. Empty for an empty text.
func code(foreign string) string {
	switch {
	case foreign == "":
		return ""
	case !strings.ContainsAny(foreign, "`|<\n"):
		return "`" + foreign + "`"
	}
	return "<code>" + escape(foreign) + "</code>"
}

// label escapes a text from AWS or from the template for a Mermaid diagram, which has its own character references.
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
