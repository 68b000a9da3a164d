// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

var (
	//go:embed page/page.html.tmpl
	pageText string
	//go:embed page/page.css
	style string
)

// page holds the data for the template of the HTML report.
type page struct {
	Manifest
	Style      template.CSS
	StyleHash  string
	Headline   string
	Causes     collapsible[pageFinding]
	Remarks    collapsible[pageFinding]
	States     []stateCount
	Retained   retained
	Drawing    figure
	TimeLine   timeLine
	Attributes map[string][]Attribute
	HasReasons bool // a finding says why a destination has no image
	HasTimes   bool // a destination has started and ended

	HasPublications      bool
	HasSharePublications bool
	Reason               func(Destination) string
	Grants               []KMSGrant // permanent ones
	Took                 time.Duration
	Expected             time.Duration
	Copies               copyCounts
	Stored               int64
	DeletedGiB           int64 // of the estimate
}

// pageFinding is a finding together with the manifest that has its destinations.
type pageFinding struct {
	Finding
	manifest *Manifest
}

// Hits returns where the finding applies.
func (f pageFinding) Hits() string { return f.manifest.hits(f.Finding) }

func (m Manifest) pageFindings(findings []Finding) []pageFinding {
	var all []pageFinding
	for _, finding := range findings {
		all = append(all, pageFinding{finding, &m})
	}
	return all
}

// parsePage parses the template of the page once. A run writes the page at every change of a step.
var parsePage = sync.OnceValues(func() (*template.Template, error) {
	return template.New("page").Funcs(template.FuncMap{
		"count":    distribution.Count,
		"duration": Duration,
		"clock":    clock,
		"size":     func(gib any) string { return size(reflect.ValueOf(gib).Int()) }, // of any integer type
		"key":      keyName,
		"glyph":    glyph,
		"class":    class,
		"price":    Estimate.costText,
		"lacks":    Finding.lacks,
		"audience": Share.audience,
		"purpose":  KMSGrant.purpose,
		"label":    Publication.text,
		"staging":  Volume.reason,
		"awsError": awsError,
		"uses":     ReleaseUsage.uses,
		"released": ReleaseUsage.released,
	}).Parse(pageText)
})

// HTML returns the report as a page that loads nothing: no script, no picture, no font. Its content security policy
// forbids them. html/template escapes the texts that come from AWS and from the template.
func (m Manifest) HTML() ([]byte, error) {
	parsed, err := parsePage()
	if err != nil {
		return nil, err
	}

	hash := sha256.Sum256([]byte(style))
	var out bytes.Buffer
	err = parsed.Execute(&out, page{
		Manifest:   m,
		Style:      template.CSS(style),
		StyleHash:  base64.StdEncoding.EncodeToString(hash[:]),
		Headline:   m.Headline(),
		Causes:     collapse(m.pageFindings(m.causes())),
		Remarks:    collapse(m.pageFindings(m.remarks())),
		HasReasons: m.hasReasons(),
		HasTimes:   m.hasTimes(),

		HasPublications:      m.hasPublications(),
		HasSharePublications: m.hasSharePublications(),

		Reason:     m.reasons(),
		States:     m.states(),
		Retained:   m.retained(),
		Drawing:    m.Drawing().figure(),
		TimeLine:   m.timeLine(),
		Attributes: m.attributes(),
		Grants:     m.permanentGrants(),
		Took:       m.end().Sub(m.Run.StartedAt.Time),
		Expected:   m.Estimate.duration(),
		Copies:     m.copyCounts(),
		Stored:     m.storedGiB(),
		DeletedGiB: m.Estimate.CopiedGiB - m.Estimate.StoredGiB,
	})
	return out.Bytes(), err
}

// collapsible is a list of which the page shows the first items, and hides others until a reader opens them. The last
// items of a long list are only in the JSON file.
type collapsible[T any] struct {
	First, More []T
	Beyond      int
}

// collapse splits a list, so that the page of a large or failed run stays readable.
func collapse[T any](all []T) collapsible[T] {
	const open, most = 6, 200
	first, last := min(len(all), open), min(len(all), most)
	return collapsible[T]{all[:first], all[first:last], len(all) - last}
}

// Sizes of the drawing, in its own units.
const (
	boxWidth  = 236
	boxHeight = 74
	boxGap    = 14
	flowWidth = 146
)

// figure is a drawing with the positions of its boxes.
type figure struct {
	Width, Height int
	Boxes         []placed
	Flows         []flow
}

type placed struct {
	Node
	X, Y, W, H                int
	ServedW, FailedW, FailedX int // of the bar that shows how many are served
	BarW                      int
}

type flow struct {
	Edge
	X1, Y1, X2, Y2, XM int
	TextX, TextY       int
	Text               string
}

// figure puts the boxes of each kind into a column, and the columns side by side.
func (d Drawing) figure() figure {
	var columns [][]Node
	for _, kind := range []Kind{FromSource, AsStaged, ToTargets} {
		column := slices.DeleteFunc(slices.Clone(d.Nodes), func(n Node) bool { return n.Kind != kind })
		if len(column) > 0 {
			columns = append(columns, column)
		}
	}
	var f figure
	for _, column := range columns {
		f.Height = max(f.Height, len(column)*(boxHeight+boxGap)-boxGap+2)
	}
	at := map[string]placed{}
	for i, column := range columns {
		y := (f.Height - len(column)*(boxHeight+boxGap) + boxGap) / 2
		for _, n := range column {
			p := placed{Node: n, X: 1 + i*(boxWidth+flowWidth), Y: y, W: boxWidth, H: boxHeight, BarW: boxWidth - 24}
			if all := n.All(); all > 0 {
				p.ServedW, p.FailedW = p.BarW*n.Served/all, p.BarW*(n.Failed+n.Skipped)/all
				p.FailedX = p.ServedW
			}
			at[n.ID] = p
			f.Boxes = append(f.Boxes, p)
			y += boxHeight + boxGap
		}
		f.Width = 2 + (i+1)*(boxWidth+flowWidth) - flowWidth
	}
	for _, e := range d.Edges {
		from, to := at[e.From], at[e.To]
		l := flow{Edge: e, X1: from.X + boxWidth, Y1: from.Y + boxHeight/2, X2: to.X, Y2: to.Y + boxHeight/2}
		l.XM = l.X2 - flowWidth/2
		l.TextX, l.TextY = l.X2-10, l.Y2-7
		l.Text = e.emptyText()
		if e.Copies > 0 {
			l.Text = distribution.Count(e.Copies, "copy", "copies") + ", " + size(e.GiB)
		}
		f.Flows = append(f.Flows, l)
	}
	return f
}

// Sizes of the time line, in pixels.
const (
	labelWidth = 212
	chartWidth = 720
	rowHeight  = 18
	barsHeight = 12
)

// timeLine shows the copies over the time of the run, with a row for each account and Region.
type timeLine struct {
	Width, LabelW, ChartW, Height int
	Seconds                       int
	Ticks                         []tick
	Rows                          []row
	Beyond                        int // number of rows that only the manifest has
}

// mostRows is how many accounts and Regions the time line shows. A page of all 10,000 would be too large to open.
const mostRows = 1500

type tick struct {
	X    int
	Text string
}

type row struct {
	Y     int
	Label string
	Bars  []bar

	isNotable bool // a copy in the row is staged, or has not succeeded
	ends      time.Time
}

type bar struct {
	Step
	X, Y, W, H string
	Took       time.Duration
	State      string // done, in progress or failed
}

func (m Manifest) timeLine() timeLine {
	started := m.Run.StartedAt.Time
	whole := max(m.end().Sub(started), time.Second)
	t := timeLine{
		Width:   labelWidth + chartWidth + 24,
		LabelW:  labelWidth,
		ChartW:  chartWidth,
		Seconds: int(whole.Seconds()),
	}
	for at, step := time.Duration(0), tickStep(whole); at <= whole; at += step {
		x := labelWidth + int(float64(chartWidth)*at.Seconds()/whole.Seconds())
		t.Ticks = append(t.Ticks, tick{x, "+" + brief(at)})
	}

	rows := map[string]int{}
	for _, c := range m.copies() {
		label := c.AccountID + " " + c.Region
		if c.Staged {
			label = "staged in " + c.Region
		}
		i, known := rows[label]
		if !known {
			i = len(t.Rows)
			rows[label] = i
			t.Rows = append(t.Rows, row{Label: label})
		}
		b := bar{Step: c, State: "done"}
		end := c.EndedAt.Time
		switch {
		case end.IsZero():
			end, b.State = m.end(), InProgress.Label()
		case c.Status != Succeeded:
			b.State = "failed"
		}
		b.Took = end.Sub(c.StartedAt.Time)
		b.X = pixels(labelWidth + c.StartedAt.Sub(started).Seconds()/whole.Seconds()*chartWidth)
		b.W = pixels(max(b.Took.Seconds()/whole.Seconds()*chartWidth, 1))
		r := &t.Rows[i]
		r.Bars = append(r.Bars, b)
		r.isNotable = r.isNotable || c.Staged || b.State != "done"
		if end.After(r.ends) {
			r.ends = end
		}
	}

	t.Rows, t.Beyond = lastRows(t.Rows)
	for i := range t.Rows { // copies of one image run concurrently, so their bars share the height of the row
		t.Rows[i].Y = i * rowHeight
		bars := t.Rows[i].Bars
		height := barsHeight / float64(len(bars))
		for j := range bars {
			bars[j].Y, bars[j].H = pixels(3+float64(j)*height), pixels(max(height-0.5, 0.5))
		}
	}
	t.Height = len(t.Rows) * rowHeight
	return t
}

// lastRows returns the rows to show, in their order, and the number of the others. If there are too many, it shows the
// notable ones and those whose copies end last, because the run waits for them.
func lastRows(all []row) (shown []row, beyond int) {
	if len(all) <= mostRows {
		return all, 0
	}

	ranked := make([]int, len(all))
	for i := range all {
		ranked[i] = i
	}
	slices.SortStableFunc(ranked, func(a, b int) int {
		return cmp.Or(-compareBool(all[a].isNotable, all[b].isNotable), all[b].ends.Compare(all[a].ends))
	})
	for _, i := range slices.Sorted(slices.Values(ranked[:mostRows])) {
		shown = append(shown, all[i])
	}

	return shown, len(all) - mostRows
}

// tickStep returns the time between two ticks. There are at most nine ticks.
func tickStep(whole time.Duration) time.Duration {
	for _, minutes := range []time.Duration{1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720} {
		if whole <= 8*minutes*time.Minute {
			return minutes * time.Minute
		}
	}
	return 24 * time.Hour
}

func pixels(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
}

// brief returns a duration without the units that are zero.
func brief(d time.Duration) string {
	text := d.Round(time.Minute).String()
	text = strings.TrimSuffix(text, "0s")
	if text == "" {
		return "0"
	}
	if hours, found := strings.CutSuffix(text, "h0m"); found {
		return hours + "h"
	}
	return text
}

// clock returns a time in UTC.
func clock(t Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// size returns a number of GiB with thousands separators.
func size(gib int64) string {
	digits := strconv.FormatInt(gib, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits + " GiB"
}

// keyName returns the alias of a key, as the screen shows it. A key without an alias has the part of its ARN after the
// account and Region, which the report shows beside it.
func keyName(alias, arn OptionalString, account, region string) string {
	if alias != "" {
		return string(alias)
	}
	_, rest, found := strings.Cut(string(arn), ":kms:"+region+":"+account+":")
	if found && account != "" {
		return rest
	}
	return string(arn)
}

// glyph returns the symbol of a state, for readers who cannot distinguish colors.
func glyph(state any) string { return looks[fmt.Sprint(state)].glyph }

// class returns the color of a state.
func class(state any) string { return looks[fmt.Sprint(state)].class }

// looks are the symbols and colors of states and of levels of findings.
var looks = map[string]struct{ glyph, class string }{
	string(Planned):         {"○", "neutral"},
	string(Pending):         {"○", "neutral"},
	string(Running):         {"◐", "busy"},
	string(InProgress):      {"◐", "busy"},
	string(Succeeded):       {"✓", "good"},
	string(Skipped):         {"–", "warn"},
	string(Canceled):        {"✕", "bad"},
	string(Failed):          {"✕", "bad"},
	string(SeverityError):   {"✕", "bad"},
	string(SeverityWarning): {"!", "warn"},
	string(SeverityNote):    {"i", "neutral"},
}
