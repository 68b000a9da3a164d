// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
)

// refusedManifest returns the manifest of a run whose plan has an error.
func refusedManifest() report.Manifest {
	p, r := reporttest.Run(1)
	p.Steps, r.Steps, r.Images = nil, nil, nil
	for i := range p.Images[0].Devices {
		p.Images[0].Devices[i].Why, p.Images[0].Devices[i].Staged = "", false
	}
	r.Destinations = nil
	for _, d := range p.Destinations {
		r.Destinations = append(r.Destinations, distribution.DestinationResult{At: d.At, State: distribution.Excluded})
		r.Findings = append(r.Findings, distribution.Finding{
			Level:    distribution.Refused,
			Code:     distribution.CodeKeyMissing,
			Location: d.At,
			Summary:  "alias/golden-target does not exist",
		})
	}
	r.Failure = "nothing was created"
	return reporttest.NewManifest(p, r)
}

// The table, the diagram and the volumes of a run with errors in its plan do not contradict each other: nothing was
// copied, and no destination failed.
func TestMarkdown_refusedPlan(t *testing.T) {
	text := string(refusedManifest().Markdown())
	checkParts(t, text, map[string]bool{
		"1 skipped":      true,
		"1 failed":       false,
		"not copied":     true,
		"no copy needed": false,
		"not used":       false,
		" | – |":         true,
		"| Account | Region | State | AMI | Target | Name | Took | Reason |": true,
		"| – skipped |  | prod | golden 2026-03-02 |  | alias/golden":        true,
	})
}

func TestHTML_refusedPlan(t *testing.T) {
	page, err := refusedManifest().HTML()
	if err != nil {
		t.Fatal(err)
	}
	checkParts(t, string(page), map[string]bool{
		"– 1 skipped":     true,
		"1 failed":        false,
		">not copied<":    true,
		"no copy needed":  false,
		"not used":        false,
		"<td>–</td>":      true,
		"<th>Reason</th>": true,
		`<td class="why">alias/golden-target does not exist</td>`: true,
	})
}

// checkParts fails the test if a text lacks a part, or has one that it must not have.
func checkParts(t *testing.T, text string, parts map[string]bool) {
	t.Helper()
	for part, want := range parts {
		if got := strings.Contains(text, part); got != want {
			t.Errorf("got %q in the text: %v, want %v:\n%s", part, got, want, text)
		}
	}
}

// The reports name keys as the screen does.
func TestReports_keyAliases(t *testing.T) {
	p, r := reporttest.Run(1)
	device := &p.Images[0].Devices[0]
	p.KeyAliases = map[string]string{
		device.KeyARN:               "aws/ebs",
		device.StageKeyARN:          "alias/golden-source",
		p.Destinations[0].KeyARN:    "alias/golden-target",
		"arn:aws:kms:::key/another": "alias/another",
	}
	m := reporttest.NewManifest(p, r)
	checkParts(t, string(m.Markdown()), map[string]bool{
		"| 8 | `aws/ebs` |":                 true,
		"copied with `alias/golden-source`": true,
	})
	page, err := m.HTML()
	if err != nil {
		t.Fatal(err)
	}
	checkParts(t, string(page), map[string]bool{
		"<td><code>aws/ebs</code></td>":                true,
		"copied with <code>alias/golden-source</code>": true,
		`<td><code>alias/golden-target</code></td>`:    true,
	})
}

// The text calls a price a list price only once, and does not mix it with the size.
func TestMarkdown_costLeftBehind(t *testing.T) {
	p, r := reporttest.Run(1)
	r.Left = []distribution.RetainedResource{
		{Kind: "snapshot", Resource: "snap-0a", GiB: 28, At: reporttest.Source, Why: "kept"},
	}
	r.LeftUSD = distribution.USDPerMonth(r.Left)
	checkParts(t, string(reporttest.NewManifest(p, r).Markdown()), map[string]bool{
		"\nTogether 28 GiB, up to `$1.40` a month (list price, us-east-1).": true,
		"List prices": false,
	})
}

// A run that resumes another one does not count the copies of that run as its own.
func TestReports_copyCounts(t *testing.T) {
	at := report.Time{Time: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	done := report.Step{SourceRegion: "us-east-1", Status: report.Succeeded, StartedAt: at, EndedAt: at}
	failed, active, reused := done, done, done
	failed.Status, active.Status, active.EndedAt, reused.Reused = report.Failed, report.InProgress, report.Time{}, true
	other := report.Step{Status: report.Succeeded, StartedAt: at, EndedAt: at}

	for want, steps := range map[string][]report.Step{
		"0 of 0<small>succeeded":                               nil,
		"2 of 4<small>succeeded, 2 failed":                     {done, failed, done, failed},
		"1 of 2<small>succeeded, 1 in progress":                {done, active, other},
		"1 of 1<small>succeeded, 2 reused from an earlier run": {reused, done, reused},
	} {
		page, err := report.Manifest{Run: report.Run{StartedAt: at, EndedAt: at}, Steps: steps}.HTML()
		if err != nil {
			t.Fatal(err)
		}
		checkParts(t, string(page), map[string]bool{"<dt>Copies</dt><dd>" + want + "</small>": true})
	}
}

// What a resumed run continues with is not shown as left behind.
func TestReports_keptForResume(t *testing.T) {
	at := report.Time{Time: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
	m := report.Manifest{Status: report.Failed, Run: report.Run{StartedAt: at, EndedAt: at}}
	m.LeftBehind = []report.RetainedResource{
		{Kind: "snapshot", ResourceID: "snap-kept", SizeGiB: 8, Reason: distribution.KeptCompleted, KeptForResume: true},
		{Kind: "snapshot", ResourceID: "snap-left", SizeGiB: 20, Reason: "denied"},
	}
	page, err := m.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(page), string(m.Markdown())} {
		kept, left, both := strings.Cut(text[strings.LastIndex(text, "Kept for the resumed run"):], "Left behind")
		if !both || !strings.Contains(kept, "snap-kept") || strings.Contains(kept, "snap-left") ||
			!strings.Contains(left, "snap-left") || strings.Contains(left, "snap-kept") {
			t.Errorf("got both in\n%s", text)
		}
	}
	if text := string(m.Markdown()); !strings.Contains(text, "8 GiB kept for the resumed run, 20 GiB left behind.") {
		t.Errorf("got no sizes in\n%s", text)
	}
}

// A statement in a hostile finding cannot end its block of code.
func TestMarkdown_statementWithFence(t *testing.T) {
	p, r := reporttest.Run(1)
	r.Findings = append(r.Findings, distribution.Finding{
		Level:   distribution.Refused,
		Summary: "a statement is missing",
		PolicyStatements: []distribution.Addition{{
			Policy: "identity policy of role a",
			Statement: distribution.Statement{
				Effect:   "Allow",
				Action:   []string{"```\n# injected"},
				Resource: []string{"*"},
			},
		}},
	})
	r.Failure = "failed"
	text := string(reporttest.NewManifest(p, r).Markdown())
	checkParts(t, text, map[string]bool{"\n  ````json\n": true, "\n  ````\n": true, "\n# injected": false})
}

// An image of unknown size has no size in the diagram, as after a clean-up of an AMI that is gone.
func TestMarkdown_unknownSize(t *testing.T) {
	var p plan.Plan
	_, r := reporttest.Run(1)
	checkParts(t, string(reporttest.NewManifest(p, r).Markdown()), map[string]bool{
		"[\"source AMI<br/>ami-0aaaaaaaaaaaaaaaa<br/>ap-northeast-1\"]": true,
		"0 GiB\"]": false,
	})
}
