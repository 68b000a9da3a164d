// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

func TestReport_followsRun(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		path := filepath.Join(s.TempDir(), "report.json")
		o["report_path"] = path
		var seen []string
		look := func() {
			m, _ := readManifest(s.T, path)
			seen = append(seen, string(m.Status)+", "+string(m.Destinations[0].Status))
			if copies := copiesOf(m); len(copies) == 0 || m.Run.UpdatedAt.IsZero() {
				s.Errorf("got the copies %+v, updated at %v", copies, m.Run.UpdatedAt)
			}
		}
		time.AfterFunc(3*time.Minute, look)
		output, err := s.run(s.Context(), o)
		if err != nil {
			s.Fatal(err)
		}
		look()
		if want := []string{"running, in_progress", "succeeded, succeeded"}; !slices.Equal(seen, want) {
			s.Errorf("got %q, want %q", seen, want)
		}

		m, text := readManifest(s.T, path)
		copies := copiesOf(m)
		for _, c := range copies {
			if c.EndedAt.Sub(c.StartedAt.Time) < time.Minute || c.ResourceID == "" || c.Status != report.Succeeded {
				s.Errorf("got %+v, want a copy that succeeded", c)
			}
		}
		if len(copies) != 4 || m.Estimate.Copies != 4 || len(m.Drawing().Edges) != 2 {
			s.Errorf("got %d copies, %+v, %+v, want 4 copies and 2 edges", len(copies), m.Estimate, m.Drawing())
		}
		if d := m.Destinations[0]; string(d.AMIID) != output.result.Images[0].ImageID || len(d.Snapshots) != 2 {
			s.Errorf("got %+v", d)
		}
		if strings.Contains(text, "assumed-role/golden") {
			s.Error("the report names a role without report_details")
		}
	})
}

// copiesOf returns the copies of snapshots that have started.
func copiesOf(m report.Manifest) []report.Step {
	return slices.DeleteFunc(slices.Clone(m.Steps), func(s report.Step) bool {
		return s.Operation != "ec2:CopySnapshot" || s.StartedAt.IsZero()
	})
}

func TestTheReportHasTheMediumOfItsEnding(t *testing.T) {
	for ending, begin := range map[string]string{"html": "<!DOCTYPE html>", "md": "# ✓ 1 of 1 destination succeeded\n", "json": "{\n"} {
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

func TestManifest_stepsDuringRun(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		path := filepath.Join(s.TempDir(), "result.json")
		o["manifest_path"] = path
		var started int
		time.AfterFunc(3*time.Minute, func() {
			m, _ := readManifest(s.T, path)
			for _, step := range m.Steps {
				if !step.StartedAt.IsZero() {
					started++
				}
			}
		})
		if _, err := s.run(s.Context(), o); err != nil {
			s.Fatal(err)
		}
		if started == 0 {
			s.Error("no step has a start")
		}
	})
}
