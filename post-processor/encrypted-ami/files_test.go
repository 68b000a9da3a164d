// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// reported reads the file of report_path, which is JSON.
func reported(t *testing.T, o map[string]any) report.Document {
	t.Helper()
	text, err := os.ReadFile(o["report_path"].(string))
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		report.Document
		Left []any
	}
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	return told.Document
}

func TestTheReportStandsAsTheRunDoes(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		o["report_path"] = filepath.Join(s.TempDir(), "report.json")
		var seen []string
		look := func() {
			d := reported(s.T, o)
			ended := 0
			for _, c := range d.Copies {
				if !c.Ended.IsZero() {
					ended++
				}
			}
			seen = append(seen, string(d.Outcome)+", "+string(d.Destinations[0].State))
			if len(d.Copies) == 0 || d.Written.IsZero() || d.Copies[0].Begun.IsZero() {
				s.Errorf("the time line: %+v", d.Copies)
			}
		}
		time.AfterFunc(3*time.Minute, look)
		output, err := s.run(s.Context(), o)
		if err != nil {
			s.Fatal(err)
		}
		look()
		if want := []string{"under way, underway", "succeeded, served"}; !slices.Equal(seen, want) {
			s.Errorf("got %q", seen)
		}
		d := reported(s.T, o)
		var moved []string
		for _, c := range d.Copies {
			if c.Ended.Sub(c.Begun) < time.Minute || c.Made == "" || c.Failed {
				s.Errorf("%+v", c)
			}
			moved = append(moved, string(c.Step))
		}
		if len(moved) != 4 || d.Costs.Copies != 4 || d.Costs.Owned != 16 || len(d.Drawing.Edges) != 2 {
			s.Errorf("%q, %+v, %+v", moved, d.Costs, d.Drawing)
		}
		if d.Destinations[0].ImageID != output.result.Images[0].ImageID {
			s.Errorf("%+v", d.Destinations)
		}
	})
}

func TestTheReportHasTheMediumOfItsEnding(t *testing.T) {
	for ending, begin := range map[string]string{"html": "<!DOCTYPE html>", "md": "# ✓ All of 1 destination served\n", "json": "{\n"} {
		t.Run(ending, func(t *testing.T) {
			onStage(t, func(s *stage) {
				o := s.options(prod)
				o["report_path"] = filepath.Join(s.TempDir(), "report."+ending)
				if _, err := s.run(s.Context(), o); err != nil {
					s.Fatal(err)
				}
				text, err := os.ReadFile(o["report_path"].(string))
				if err != nil || !strings.HasPrefix(string(text), begin) {
					s.Errorf("%v: %.60s", err, text)
				}
			})
		})
	}
}

func TestTheReportNamesRolesWithDetailsOnly(t *testing.T) {
	for _, details := range []bool{false, true} {
		onStage(t, func(s *stage) {
			s.keyless(prod)
			o := s.options(prod)
			o["report_path"], o["report_details"] = filepath.Join(s.TempDir(), "report.html"), details
			if _, err := s.run(s.Context(), o); err == nil {
				s.Fatal("a success")
			}
			text, err := os.ReadFile(o["report_path"].(string))
			if err != nil {
				s.Fatal(err)
			}
			for _, name := range []string{"assumed-role/golden-image-target", "Add to the"} {
				if strings.Contains(string(text), name) != details {
					s.Errorf("with details %v: %q", details, name)
				}
			}
		})
	}
}

func TestWritingFilesTakesATwentiethOfTheTimeAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := 0, 0
		r := &run{files: []*file{
			{path: filepath.Join(t.TempDir(), "slow"), content: func() ([]byte, error) { slow++; time.Sleep(time.Second); return nil, nil }},
			{path: filepath.Join(t.TempDir(), "fast"), content: func() ([]byte, error) { fast++; return nil, nil }},
		}}
		for range 100 {
			r.writeDue(true)
			time.Sleep(time.Second)
		}
		if slow < 4 || slow > 6 || fast != 100 {
			t.Errorf("written %d and %d times", slow, fast)
		}
		time.Sleep(time.Minute)
		if r.writeDue(false); fast != 100 {
			t.Error("written without a change")
		}
		before := slow
		if r.write(); slow != before+1 || fast != 101 {
			t.Error("not written at the end")
		}
	})
}

func TestTheManifestHasTheTimesOfARunUnderWay(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		path := filepath.Join(s.TempDir(), "result.json")
		o["manifest_path"] = path
		var steps int
		time.AfterFunc(3*time.Minute, func() {
			_, text := manifested(s.T, path)
			steps = strings.Count(text, `"Step": `)
		})
		if _, err := s.run(s.Context(), o); err != nil {
			s.Fatal(err)
		}
		if steps == 0 {
			s.Error("no step")
		}
	})
}
