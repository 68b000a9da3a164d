// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package browsertest

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"os"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/page"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
)

var screenshot = flag.String("screenshot", "", "write a screenshot of a report to this file")

func TestScreenshot(t *testing.T) {
	if *screenshot == "" {
		t.Skip("make screenshot writes it")
	}
	b := openBrowser(t)
	b.resize(t, 1080, 1500, "light")
	b.open(t, reporttest.Manifest(7))
	height := evaluate[float64](t, b, `document.querySelector("#decisions").getBoundingClientRect().top`)
	b.resize(t, 1080, int64(height), "light") // what lies outside of the window may be captured before it is painted
	b.waitForPaint(t)
	taken := call(t, b, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatPng})

	full, err := png.Decode(bytes.NewReader(taken.Data))
	if err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, reduceColors(full)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*screenshot, small.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d KiB", small.Len()>>10)
}

// reduceColors returns the image in its 256 most frequent colors. That saves two thirds of the bytes, without a visible
// difference for a page.
func reduceColors(full image.Image) *image.Paletted {
	bounds, counts := full.Bounds(), map[color.RGBA]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}

	var colors []color.RGBA
	for c := range counts {
		colors = append(colors, c)
	}
	slices.SortFunc(colors, func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})

	var palette color.Palette
	for _, c := range colors[:min(len(colors), 256)] {
		palette = append(palette, c)
	}
	reduced := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			reduced.Set(x, y, full.At(x, y))
		}
	}
	return reduced
}
