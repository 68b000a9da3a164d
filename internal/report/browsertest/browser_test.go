// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// browser is a headless Chromium with one page.
type browser struct {
	ctx    context.Context
	events events
}

// events collects messages, dialogs and requests of the page. Chromium reports them in its own goroutine.
type events struct {
	sync.Mutex
	console  []string // errors, warnings and dialogs
	requests []string // URLs
}

// openBrowser starts Chromium. It skips the test where Chromium is not installed.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := findChromium()
	if path == "" {
		t.Skip("no chromium: the report is not tested in a browser (apt-get install chromium)")
	}

	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.NoSandbox, // Chromium refuses its sandbox to root
		chromedp.DisableGPU,
	)...)
	t.Cleanup(stop)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	t.Cleanup(closeBrowser)

	b := &browser{ctx: ctx}
	if err := chromedp.Listen(ctx, b.listen); err != nil {
		t.Fatal(err)
	}
	call(t, b, network.Enable, network.EnableParams{})
	return b
}

func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// listen collects an event. It must not wait for Chromium, which delivers no other event in the meantime.
func (b *browser) listen(event any) {
	e := &b.events
	e.Lock()
	defer e.Unlock()
	switch event := event.(type) {
	case *log.EventEntryAdded:
		e.console = append(e.console, event.Entry.Text)
	case *runtime.EventConsoleAPICalled:
		e.console = append(e.console, "console."+string(event.Type))
	case *runtime.EventExceptionThrown:
		e.console = append(e.console, event.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		e.console = append(e.console, "dialog: "+event.Message)
		go b.closeDialog()
	case *network.EventRequestWillBeSent:
		e.requests = append(e.requests, event.Request.URL)
	}
}

// closeDialog closes a dialog, which blocks the page until then.
func (b *browser) closeDialog() {
	params := page.HandleJavaScriptDialogParams{Accept: true}
	_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, params) // open reports the dialog
}

// take returns the events since the last call.
func (e *events) take() (console, requests []string) {
	e.Lock()
	defer e.Unlock()
	console, requests = e.console, e.requests
	e.console, e.requests = nil, nil
	return console, requests
}

// call runs one command of the DevTools protocol.
func call[P, R any](t *testing.T, b *browser, command cdp.Command[P, R], params P) R {
	t.Helper()
	result, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// evaluate returns the value of a JavaScript expression.
func evaluate[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// open renders a report and returns the time until it was painted. The page must be silent and load nothing else.
func (b *browser) open(t *testing.T, m report.Manifest) time.Duration {
	t.Helper()
	html, err := m.HTML()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, html, 0o600); err != nil {
		t.Fatal(err)
	}

	b.events.take()
	started := time.Now()
	if err := chromedp.Do(b.ctx, chromedp.Navigate("file://"+path)); err != nil {
		t.Fatal(err)
	}
	b.waitForPaint(t)
	took := time.Since(started)

	console, requests := b.events.take()
	if len(console) > 0 {
		t.Errorf("the console has %q, want nothing", console)
	}
	if want := []string{"file://" + path}; !slices.Equal(requests, want) {
		t.Errorf("the page requests %q, want %q", requests, want)
	}
	return took
}

// waitForPaint waits for a frame that shows everything that has changed so far.
func (b *browser) waitForPaint(t *testing.T) {
	t.Helper()
	const painted = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
	evaluate[bool](t, b, painted)
}

// The browser must report events of a page. Otherwise every page would pass as silent.
func TestBrowser_collectsEvents(t *testing.T) {
	b := openBrowser(t)
	path := filepath.Join(t.TempDir(), "loud.html")
	html := `<script>console.log("logged"); throw "thrown"</script><img src="missing.png" onerror="alert('shown')">`
	if err := os.WriteFile(path, []byte(html), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(b.ctx, chromedp.Navigate("file://"+path)); err != nil {
		t.Fatal(err)
	}
	console, requests := b.events.take()
	for _, want := range []string{"console.log", "Uncaught", "ERR_FILE_NOT_FOUND", "dialog: shown"} {
		if !strings.Contains(strings.Join(console, "\n"), want) {
			t.Errorf("got the console %q, want %s in it", console, want)
		}
	}
	if len(requests) != 2 {
		t.Errorf("got the requests %q, want the page and the picture", requests)
	}
}

// resize sets the size of the window and the preferred color scheme.
func (b *browser) resize(t *testing.T, width, height int64, scheme string) {
	t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, height)); err != nil {
		t.Fatal(err)
	}
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}
