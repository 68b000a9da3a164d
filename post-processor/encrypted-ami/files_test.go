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
		path := manifestOf(s, o)
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

		m, _ := readManifest(s.T, path)
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
	})
}

// copiesOf returns the copies of snapshots that have started.
func copiesOf(m report.Manifest) []report.Step {
	return slices.DeleteFunc(slices.Clone(m.Steps), func(s report.Step) bool {
		return s.Operation != "ec2:CopySnapshot" || s.StartedAt.IsZero()
	})
}

// manifestOf lets a run write its files, and returns the path of the manifest.
func manifestOf(s *stage, o map[string]any) string {
	directory := s.TempDir()
	o["output_directory"] = directory
	return filepath.Join(directory, "manifest.json")
}

// Every mode that delivers nothing has files of its own, so that CI still reads the manifest of the delivery.
func TestFileName_ofMode(t *testing.T) {
	for mode, want := range map[string]string{
		"distribute": "manifest.json",
		"plan":       "manifest-plan.json",
		"verify":     "manifest-verify.json",
		"cleanup":    "manifest-cleanup.json",
		"promote":    "manifest-promote.json",
		"rollback":   "manifest-rollback.json",
		"usage":      "manifest-usage.json",
	} {
		r := &run{PostProcessor: &PostProcessor{}}
		r.config.Mode = mode
		if got := r.fileName("manifest.json"); got != want {
			t.Errorf("mode %s: got %s, want %s", mode, got, want)
		}
	}
}

func TestOutputDirectory_files(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		parent := s.TempDir()
		o["output_directory"] = filepath.Join(parent, "new", "{{ build_name }}", "{{ .AMI }}")
		if _, err := s.run(s.Context(), o); err != nil {
			s.Fatal(err)
		}
		for name, begin := range map[string]string{
			"manifest.json": "{\n",
			"report.html":   "<!DOCTYPE html>",
			"report.md":     "# ✓ 1 of 1 destination succeeded\n",
		} {
			text, err := os.ReadFile(filepath.Join(parent, "new", "golden", s.image, name))
			if err != nil || !strings.HasPrefix(string(text), begin) {
				s.Errorf("%s: got %v, %.60s", name, err, text)
			}
		}
	})
}

// If the directory of the files cannot be created, the run still distributes the image of the build.
func TestOutputDirectory_notWritable(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		file := filepath.Join(s.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			s.Fatal(err)
		}
		o["output_directory"] = filepath.Join(file, "below")
		if _, err := s.run(s.Context(), o); err != nil {
			s.Fatal(err)
		}
		if !strings.Contains(s.screen.String(), "output_directory: no files are written") {
			s.Errorf("got no warning:\n%s", s.screen)
		}
	})
}

func TestReport_rolesAndStatements(t *testing.T) {
	onStage(t, func(s *stage) {
		s.keyless(prod)
		o := s.options(prod)
		page := filepath.Join(filepath.Dir(manifestOf(s, o)), "report.html")
		if _, err := s.run(s.Context(), o); err == nil {
			s.Fatal("a success")
		}
		text, err := os.ReadFile(page)
		if err != nil {
			s.Fatal(err)
		}
		for _, name := range []string{"assumed-role/golden-image-target", "Add to the"} {
			if !strings.Contains(string(text), name) {
				s.Errorf("the report does not contain %q", name)
			}
		}
		if strings.Contains(string(text), "hush") {
			s.Error("the report shows an external ID")
		}
	})
}

func TestFiles_writeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := 0, 0
		r := &run{files: []*file{
			{
				path:    filepath.Join(t.TempDir(), "slow"),
				content: func() ([]byte, error) { slow++; time.Sleep(time.Second); return nil, nil },
			},
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
		path := manifestOf(s, o)
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
