// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// browser is a headless Chromium with one page, spoken to over its DevTools protocol.
type browser struct {
	*testing.T
	to       *os.File
	from     *bufio.Reader
	session  string
	calls    int
	console  []string // errors and warnings
	requests []string // URLs that the page asked for
}

// browse starts Chromium. Where there is none the test is skipped.
func browse(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium: the report is not looked at in a browser (apt-get install chromium)")
	}
	profile, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	chromium := exec.CommandContext(t.Context(), path, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	chromium.ExtraFiles = []*os.File{in, out}
	if err := chromium.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	b := &browser{T: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		b.session = ""
		b.send("Browser.close", nil)
		_ = chromium.Wait() // killed or closed, it has nothing to say
		to.Close()
		from.Close()
		for tries := 0; tries < 100 && os.RemoveAll(profile) != nil; tries++ { // processes of its own may still write
		}
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct{ Message string }
}

func (b *browser) send(method string, params any) {
	b.calls++
	command := map[string]any{"id": b.calls, "method": method}
	if params != nil {
		command["params"] = params
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	text, err := json.Marshal(command)
	if err != nil {
		b.Fatal(err)
	}
	_, _ = b.to.Write(append(text, 0)) // a Chromium that is gone is met at the next read
}

// read takes note of what the page says on the way.
func (b *browser) read() message {
	b.Helper()
	text, err := b.from.ReadBytes(0)
	if err != nil {
		b.Fatalf("chromium: %v", err)
	}
	var m message
	if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m); err != nil {
		b.Fatal(err)
	}
	switch m.Method {
	case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening":
		b.console = append(b.console, string(m.Params))
	case "Network.requestWillBeSent":
		var sent struct{ Request struct{ URL string } }
		_ = json.Unmarshal(m.Params, &sent)
		b.requests = append(b.requests, sent.Request.URL)
	}
	return m
}

func (b *browser) call(method string, params, result any) {
	b.Helper()
	b.send(method, params)
	for {
		m := b.read()
		if m.ID != b.calls {
			continue
		}
		if m.Error != nil {
			b.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
}

// open shows a document, and says how long it took until it was painted.
func (b *browser) open(d report.Document) time.Duration {
	b.Helper()
	path := filepath.Join(b.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(page(b.T, d)), 0o666); err != nil {
		b.Fatal(err)
	}
	b.console, b.requests = nil, nil
	begun := time.Now()
	b.call("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for b.read().Method != "Page.loadEventFired" {
	}
	b.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))", nil)
	took := time.Since(begun)
	if len(b.console) > 0 {
		b.Errorf("the console: %s", b.console)
	}
	if len(b.requests) != 1 {
		b.Errorf("the page asks for %q", b.requests)
	}
	return took
}

func (b *browser) eval(expression string, result any) {
	b.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if got.ExceptionDetails != nil {
		b.Fatalf("%s: %s", expression, got.ExceptionDetails)
	}
	if result != nil {
		if err := json.Unmarshal(got.Result.Value, result); err != nil {
			b.Fatal(err)
		}
	}
}

// size sets the size of the window, and the colours that its user prefers.
func (b *browser) size(width, height int, scheme string) {
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

func TestAPageInABrowser(t *testing.T) {
	b := browse(t)
	for name, test := range map[string]func(*testing.T, *browser){
		"holds what the JSON says":                       holdsWhatTheJSONSays,
		"opens at once with a thousand targets":          opensAtOnce,
		"does nothing that names ask for":                doesNothingThatNamesAskFor,
		"is readable in light and dark, wide and narrow": isReadable,
	} {
		t.Run(name, func(t *testing.T) {
			b.T = t
			test(t, b)
		})
	}
}

func holdsWhatTheJSONSays(t *testing.T, b *browser) {
	d := document(3)
	b.open(d)
	text, err := d.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Begun, Ended time.Time
		Headline     string
		Drawing      report.Drawing
		Copies       []report.Copy
		Destinations []report.Destination
	}
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Headline string
		Scripts  int
		Nodes    []struct{ ID, Text string }
		Links    []report.Edge
		Rows     []string
		Bars     []struct {
			Step                  string
			Left, Right, From, To float64
		}
	}
	b.eval(`({
		Headline: document.querySelector("h1").textContent,
		Scripts: document.scripts.length,
		Nodes: [...document.querySelectorAll(".node")].map(n => ({ID: n.dataset.id, Text: n.textContent})),
		Links: [...document.querySelectorAll(".link")].map(l => ({From: l.dataset.from, To: l.dataset.to, Copies: +l.dataset.copies, GiB: +l.dataset.gib, Across: getComputedStyle(l.firstChild).strokeDasharray != "none"})),
		Rows: [...document.querySelectorAll("#destinations tbody tr")].map(r => r.textContent),
		Bars: [...document.querySelectorAll("#time [data-step]")].map(r => {
			const bar = r.getBoundingClientRect(), ticks = [...r.ownerSVGElement.querySelectorAll("line")].map(l => l.getBoundingClientRect().left)
			return {Step: r.dataset.step, Left: bar.left, Right: bar.right, From: ticks[0], To: ticks[ticks.length - 1]}
		}),
	})`, &shown)
	if shown.Headline != told.Headline || shown.Scripts != 0 {
		t.Errorf("%q, %d scripts", shown.Headline, shown.Scripts)
	}
	if len(shown.Nodes) != len(told.Drawing.Nodes) {
		t.Fatalf("%d boxes", len(shown.Nodes))
	}
	for i, n := range told.Drawing.Nodes {
		if got := shown.Nodes[i]; got.ID != n.ID || !contains(got.Text, n.Name, n.Account, n.Region) {
			t.Errorf("%+v is drawn as %+v", n, got)
		}
	}
	if !slices.Equal(shown.Links, told.Drawing.Edges) {
		t.Errorf("%+v are drawn as %+v", told.Drawing.Edges, shown.Links)
	}
	if len(shown.Rows) != len(told.Destinations) {
		t.Fatalf("%d destinations", len(shown.Rows))
	}
	for i, to := range told.Destinations {
		if !contains(shown.Rows[i], to.Account, to.Region, string(to.State), to.ImageID, to.Why, to.Target, to.Name) {
			t.Errorf("%+v is shown as %q", to, shown.Rows[i])
		}
	}
	if len(shown.Bars) != len(told.Copies) {
		t.Fatalf("%d bars", len(shown.Bars))
	}
	bars := map[string]int{}
	for i, bar := range shown.Bars {
		bars[bar.Step] = i
	}
	const lastTick = 20 * time.Minute // of a run of 25 minutes
	for _, c := range told.Copies {
		bar := shown.Bars[bars[string(c.Step)]]
		where := func(at time.Time) float64 {
			return bar.From + (bar.To-bar.From)*float64(at.Sub(told.Begun))/float64(lastTick)
		}
		if math.Abs(bar.Left-where(c.Begun)) > 2 || math.Abs(bar.Right-where(c.Ended)) > 2 {
			t.Errorf("%+v is drawn from %.0f to %.0f, want %.0f to %.0f", c, bar.Left, bar.Right, where(c.Begun), where(c.Ended))
		}
	}
}

func contains(text string, all ...string) bool {
	return !slices.ContainsFunc(all, func(part string) bool { return !strings.Contains(text, part) })
}

// The limit is on the processor time of the page, so that what else the machine does is no reason to fail.
func opensAtOnce(t *testing.T, b *browser) {
	b.call("Performance.enable", map[string]any{"timeDomain": "threadTicks"}, nil)
	painted := b.open(document(500)) // in two Regions
	var got struct {
		Metrics []struct {
			Name  string
			Value float64 // seconds
		}
	}
	b.call("Performance.getMetrics", nil, &got)
	for _, m := range got.Metrics {
		if m.Name == "TaskDuration" {
			took := time.Duration(m.Value * float64(time.Second))
			t.Logf("painted after %s, of it %s of processor time", painted.Round(time.Millisecond), took.Round(time.Millisecond))
			if took <= 0 || took > 2*time.Second {
				t.Errorf("it takes %s", took)
			}
			return
		}
	}
	t.Error("chromium does not tell how long it takes")
}

func doesNothingThatNamesAskFor(t *testing.T, b *browser) {
	p, r := poisoned(strings.Join(hostile, " "))
	b.open(report.Of(p, r, r.Ended, true))
}

func isReadable(t *testing.T, b *browser) {
	p, r := handedOn(3)
	r.Destinations[0].State, r.Destinations[1].State, r.Destinations[2].State = "waiting", "underway", "left out"
	r.Findings[1].Level = "warning"
	b.open(report.Of(p, r, r.Ended, false))
	var backgrounds []string
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 400} {
			b.size(width, 900, scheme)
			var seen struct {
				Background string
				Wide       int
				Faint      []string
			}
			b.eval(`(() => {
				const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true})
				const rgb = (...colours) => { paint.clearRect(0, 0, 1, 1); for (const c of colours) { paint.fillStyle = c; paint.fillRect(0, 0, 1, 1) }; return paint.getImageData(0, 0, 1, 1).data }
				const light = c => [.2126, .7152, .0722].reduce((sum, part, i) => sum + part * (c[i] / 255 <= .04045 ? c[i] / 255 / 12.92 : ((c[i] / 255 + .055) / 1.055) ** 2.4), 0)
				const under = e => e ? [...under(e.parentElement), getComputedStyle(e).backgroundColor] : []
				const faint = []
				for (const e of document.querySelectorAll("body *")) {
					if (![...e.childNodes].some(n => n.nodeType == Node.TEXT_NODE && n.data.trim()) || e.closest("title, defs")) continue
					const style = getComputedStyle(e), back = light(rgb(...under(e))), ink = light(rgb(e.ownerSVGElement ? style.fill : style.color))
					const contrast = (Math.max(back, ink) + .05) / (Math.min(back, ink) + .05)
					if (contrast < 4.5) faint.push(e.tagName + " " + e.className + " " + e.textContent + " " + contrast.toFixed(1))
				}
				return {Background: getComputedStyle(document.body).backgroundColor, Wide: document.documentElement.scrollWidth - innerWidth, Faint: faint}
			})()`, &seen)
			if seen.Wide > 0 || len(seen.Faint) > 0 {
				t.Errorf("%s, %d pixels: %d too wide; too little contrast: %q", scheme, width, seen.Wide, seen.Faint)
			}
			backgrounds = append(backgrounds, seen.Background)
		}
	}
	b.size(1280, 900, "light")
	if backgrounds[0] == backgrounds[2] {
		t.Error("dark is as light")
	}
}

var screenshot = flag.String("screenshot", "", "write a picture of a report")

func TestTheScreenshotOfTheDocumentation(t *testing.T) {
	if *screenshot == "" {
		t.Skip("make screenshot writes it")
	}
	b := browse(t)
	b.size(1080, 1500, "light")
	b.open(document(7))
	var until float64
	b.eval(`document.querySelector("#decisions").getBoundingClientRect().top`, &until)
	var taken struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true, "clip": map[string]any{"x": 0, "y": 0, "width": 1080, "height": until, "scale": 1}}, &taken)
	data, err := base64.StdEncoding.DecodeString(taken.Data)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, fewColours(picture)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*screenshot, small.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB", small.Len()>>10)
}

// fewColours is a picture in its 256 most frequent colours: a third of the bytes, and for a page no difference to be seen.
func fewColours(picture image.Image) *image.Paletted {
	bounds, counts := picture.Bounds(), map[color.RGBA]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	var colours []color.RGBA
	for c := range counts {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 256)] {
		palette = append(palette, c)
	}
	few := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			few.Set(x, y, picture.At(x, y))
		}
	}
	return few
}
