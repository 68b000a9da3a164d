// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
)

func TestReport(t *testing.T) {
	b := openBrowser(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"matches the JSON": testMatchesJSON,
		"renders fast":     testRendersFast,
		"hostile names":    testHostileNames,
		"readable":         testReadable,
		"filter":           testFilter,
		"failure":          testFailure,
	} {
		t.Run(name, func(t *testing.T) { test(t, b) })
	}
}

// shown holds what the page shows of a manifest.
type shown struct {
	Headline string
	Scripts  int
	Nodes    []struct{ ID, Text string }
	Links    []report.Edge
	Rows     []string
	Bars     []bar
}

// bar is a copy in the time line, with the first and the last tick of its axis, in pixels.
type bar struct {
	Step                       string
	BarStart, BarEnd, From, To float64
}

const readPage = `({
	Headline: document.querySelector("h1").textContent,
	Scripts: document.scripts.length,
	Nodes: [...document.querySelectorAll(".node")].map(n => ({ID: n.dataset.id, Text: n.textContent})),
	Links: [...document.querySelectorAll(".link")].map(l => ({
		From: l.dataset.from, To: l.dataset.to, Copies: +l.dataset.copies, GiB: +l.dataset.gib,
		Across: getComputedStyle(l.firstChild).strokeDasharray != "none",
		IsUnused: l.textContent.includes("not copied"),
	})),
	Rows: [...document.querySelectorAll("#destinations tbody tr")].map(r => r.textContent),
	Bars: [...document.querySelectorAll("#time [data-step]")].map(r => {
		const bar = r.getBoundingClientRect()
		const ticks = [...r.ownerSVGElement.querySelectorAll("line")].map(l => l.getBoundingClientRect().left)
		return {Step: r.dataset.step, BarStart: bar.left, BarEnd: bar.right, From: ticks[0], To: ticks[ticks.length - 1]}
	}),
})`

// testMatchesJSON compares the page with the JSON file that the test reads.
func testMatchesJSON(t *testing.T, b *browser) {
	m := reporttest.Manifest(3)
	b.open(t, m)
	text, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var want report.Manifest
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}

	got := evaluate[shown](t, b, readPage)
	if got.Headline != want.Headline() || got.Scripts != 0 {
		t.Errorf("got the headline %q and %d scripts, want %q and none", got.Headline, got.Scripts, want.Headline())
	}
	checkDrawing(t, got, want.Drawing())
	checkRows(t, got.Rows, want)
	checkBars(t, got.Bars, want)
}

func checkDrawing(t *testing.T, got shown, want report.Drawing) {
	t.Helper()
	if len(got.Nodes) != len(want.Nodes) {
		t.Fatalf("got %d nodes, want %d", len(got.Nodes), len(want.Nodes))
	}
	for i, n := range want.Nodes {
		if node := got.Nodes[i]; node.ID != n.ID || !containsAll(node.Text, n.Name, n.Account, n.Region) {
			t.Errorf("got %+v, want %+v", node, n)
		}
	}
	if !slices.Equal(got.Links, want.Edges) {
		t.Errorf("got %+v, want %+v", got.Links, want.Edges)
	}
}

func checkRows(t *testing.T, got []string, want report.Manifest) {
	t.Helper()
	if len(got) != len(want.Destinations) {
		t.Fatalf("got %d destinations, want %d", len(got), len(want.Destinations))
	}
	for i, d := range want.Destinations {
		parts := []string{d.AccountID, d.Region, d.Status.Label(), string(d.AMIID), d.Target, string(d.AMIName)}
		if d.Status == report.Failed {
			parts = append(parts, want.Findings[0].Summary)
		}
		if !containsAll(got[i], parts...) {
			t.Errorf("got %q, want %q in it", got[i], parts)
		}
	}
}

func checkBars(t *testing.T, got []bar, want report.Manifest) {
	t.Helper()
	bars := map[string]bar{}
	for _, b := range got {
		bars[b.Step] = b
	}
	copies := 0
	const lastTick = 20 * time.Minute // of a run of 25 minutes
	for _, step := range want.Steps {
		if step.Operation != "ec2:CopySnapshot" {
			continue
		}
		copies++
		b := bars[step.ID]
		position := func(at report.Time) float64 {
			return b.From + (b.To-b.From)*float64(at.Sub(want.Run.StartedAt.Time))/float64(lastTick)
		}
		if math.Abs(b.BarStart-position(step.StartedAt)) > 2 || math.Abs(b.BarEnd-position(step.EndedAt)) > 2 {
			t.Errorf("%+v: got %+v, want %.0f to %.0f", step, b, position(step.StartedAt), position(step.EndedAt))
		}
	}
	if len(got) != copies {
		t.Errorf("got %d bars, want %d", len(got), copies)
	}
}

func containsAll(text string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
}

// testRendersFast limits the processor time of the pages of 1,000 and of 10,000 destinations, so that a busy machine
// does not fail the test.
func testRendersFast(t *testing.T, b *browser) {
	call(t, b, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	before := taskDuration(t, b)
	for _, page := range []struct {
		accounts int // in two Regions
		limit    time.Duration
	}{
		{500, 2 * time.Second},
		{5000, 3 * time.Second},
	} {
		painted := b.open(t, reporttest.Manifest(page.accounts))
		after := taskDuration(t, b)
		took := after - before
		t.Logf("%d destinations: painted after %s, %s of processor time",
			2*page.accounts, painted.Round(time.Millisecond), took.Round(time.Millisecond))
		if took <= 0 || took > page.limit {
			t.Errorf("%d destinations take %s, want at most %s", 2*page.accounts, took, page.limit)
		}
		before = after
	}
}

// taskDuration returns the processor time of the page's tasks.
func taskDuration(t *testing.T, b *browser) time.Duration {
	t.Helper()
	for _, metric := range call(t, b, performance.GetMetrics, cdp.Empty{}).Metrics {
		if metric.Name == "TaskDuration" {
			return time.Duration(metric.Value * float64(time.Second))
		}
	}
	t.Fatal("chromium does not report TaskDuration")
	return 0
}

// testHostileNames renders names with markup. If the page interpreted one, it would open a dialog, write to the console
// or load a picture, and the browser would report that.
func testHostileNames(t *testing.T, b *browser) {
	p, r := reporttest.Poisoned(strings.Join(reporttest.Hostile, " "))
	b.open(t, reporttest.NewManifest(p, r))
}

// readability holds what makes a page hard to read.
type readability struct {
	Background  string
	TooWide     int      // pixels
	LowContrast []string // elements with a contrast below 4.5 (WCAG AA)
}

const measureReadability = `(() => {
	const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
	const rgb = (...colors) => {
		paint.clearRect(0, 0, 1, 1)
		for (const c of colors) { paint.fillStyle = c; paint.fillRect(0, 0, 1, 1) }
		return paint.getImageData(0, 0, 1, 1).data
	}
	const linear = part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4
	const luminance = c => [.2126, .7152, .0722].reduce((sum, weight, i) => sum + weight * linear(c[i] / 255), 0)
	const backgrounds = e => e ? [...backgrounds(e.parentElement), getComputedStyle(e).backgroundColor] : []
	const hasText = e => [...e.childNodes].some(n => n.nodeType == Node.TEXT_NODE && n.data.trim())
	const low = []
	for (const e of document.querySelectorAll("body *")) {
		if (!hasText(e) || e.closest("title, defs")) continue
		const style = getComputedStyle(e)
		const back = luminance(rgb(...backgrounds(e)))
		const text = luminance(rgb(e.ownerSVGElement ? style.fill : style.color))
		const contrast = (Math.max(back, text) + .05) / (Math.min(back, text) + .05)
		if (contrast < 4.5) low.push(e.tagName + " " + e.className + " " + e.textContent + " " + contrast.toFixed(1))
	}
	return {
		Background: getComputedStyle(document.body).backgroundColor,
		TooWide: document.documentElement.scrollWidth - innerWidth,
		LowContrast: low,
	}
})()`

func testReadable(t *testing.T, b *browser) {
	p, r := reporttest.Run(3)
	r.Destinations[0].State, r.Destinations[1].State, r.Destinations[2].State = "waiting", "running", "left out"
	r.Findings[1].Level = "warning"
	b.open(t, reporttest.NewManifest(p, r))

	background := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.resize(t, width, 900, scheme)
			got := evaluate[readability](t, b, measureReadability)
			if got.TooWide > 0 || len(got.LowContrast) > 0 {
				t.Errorf("%s, %d pixels: %d pixels too wide, low contrast in %q", scheme, width, got.TooWide, got.LowContrast)
			}
			background[scheme] = got.Background
		}
	}
	b.resize(t, 1280, 900, "light")
	if background["light"] == background["dark"] {
		t.Errorf("the background is %s in light and in dark", background["dark"])
	}
}

// testFilter filters the page of a run with many accounts by failures.
func testFilter(t *testing.T, b *browser) {
	m := reporttest.Manifest(500) // in two Regions
	b.open(t, m)
	visible := `[...document.querySelectorAll("#destinations tbody tr")].filter(r => r.offsetParent).length`
	for _, filter := range []struct {
		id   string
		want int
	}{
		{"show-all", 1000},
		{"show-failed", 1},
		{"show-succeeded", 999},
		{"show-all", 1000},
	} {
		if got := evaluate[int](t, b, `document.getElementById("`+filter.id+`").click(), `+visible); got != filter.want {
			t.Errorf("%s: got %d rows, want %d", filter.id, got, filter.want)
		}
	}
}

// testFailure checks that the page of a failed run begins with the cause, the statements to add, and the command that
// resumes the run.
func testFailure(t *testing.T, b *browser) {
	m := reporttest.Manifest(3)
	b.open(t, m)
	text := evaluate[string](
		t,
		b,
		`document.getElementById("failure").textContent + document.getElementById("resume").textContent`,
	)
	f := m.Findings[0]
	if !containsAll(
		text,
		string(m.Error),
		f.Summary,
		string(f.NextStep),
		`"Effect":"Allow"`,
		f.PolicyStatements[0].AttachTo,
		m.Resume.Command,
		"-var external_id=EXTERNAL_ID",
	) {
		t.Errorf("got %q", text)
	}
	if n := evaluate[int](t, b, `document.querySelectorAll("#findings [data-severity=error]").length`); n > 0 {
		t.Errorf("got %d errors among the other findings, want each cause once", n)
	}
}
