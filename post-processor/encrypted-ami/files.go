// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

// file shows a run as it stands to those outside.
type file struct {
	kind    string // in machine-readable output
	option  string // that names it
	path    string
	content func() ([]byte, error)
	failed  bool // the last try to write it
	stale   bool // something has changed since
	rests   time.Time
}

// files are those that the template asks for.
func (r *run) newFiles() []*file {
	var files []*file
	for _, f := range []*file{
		{kind: "manifest", option: "manifest_path", path: r.config.Manifest(), content: func() ([]byte, error) { return r.manifest(true).JSON() }},
		{kind: "report_html", option: "report_path", path: r.config.Report(), content: r.report},
	} {
		if f.path != "" {
			files = append(files, f)
		}
	}
	return files
}

func (f *file) name() string { return filepath.Base(f.path) }

// directory returns the directory of the files. Empty if the run writes none.
func (r *run) directory() string {
	for _, f := range r.files {
		return filepath.Dir(f.path)
	}
	return ""
}

// resumeFile returns the path of the file that resumes the run. Empty if there is none.
func (r *run) resumeFile() string { return "" }

// resumeVariables returns which variables the resume file needs. Empty if it needs none.
func (r *run) resumeVariables() string { return "" }

// manifest returns what the files show of the run so far.
func (r *run) manifest(details bool) report.Manifest {
	updated := r.result.Ended
	if updated.IsZero() {
		updated = time.Now()
	}
	return report.NewManifest(report.Input{
		PluginVersion: version.Version,
		Mode:          r.mode(),
		BuilderType:   r.config.PackerBuilderType,
		Build:         r.build,
		Plan:          r.plan,
		Result:        r.result,
		Canceled:      r.canceled,
		UpdatedAt:     updated,
		Details:       details,
	})
}

func (r *run) mode() report.Mode {
	switch {
	case r.config.CleanupOnly:
		return report.CleanUp
	case r.config.VerifyOnly:
		return report.Verify
	case r.config.PlanOnly:
		return report.PlanOnly
	}
	return report.Distribute
}

// report returns the content of report_path in the format of its extension.
func (r *run) report() ([]byte, error) {
	m := r.manifest(r.config.ReportDetails)
	switch extension := filepath.Ext(r.config.ReportPath); extension {
	case ".html":
		return m.HTML()
	case ".md":
		return m.Markdown(), nil
	case ".json":
		return m.JSON()
	default:
		return nil, fmt.Errorf("report_path: the extension %q is not .html, .md or .json", extension)
	}
}

// write writes the files as the run stands. That one cannot be written is told once, and does not end what is under way.
func (r *run) write() {
	for _, f := range r.files {
		r.writeFile(f)
	}
}

// twentieth is the part of a run's time that writing a file may take: a report of a thousand targets is written in a tenth of a second, and
// a thousand targets begin at once.
const twentieth = 20

// writeDue writes the files that something has changed for, those that take long less often.
func (r *run) writeDue(changed bool) {
	for _, f := range r.files {
		f.stale = f.stale || changed
		if f.stale && !time.Now().Before(f.rests) {
			r.writeFile(f)
		}
	}
}

func (r *run) writeFile(f *file) {
	begun := time.Now()
	content, err := f.content()
	if err == nil {
		err = replace(f.path, content)
	}
	if err != nil && !f.failed {
		r.ui.Error(f.option + ": " + err.Error())
	}
	f.failed, f.stale = err != nil, false
	f.rests = time.Now().Add(twentieth * time.Since(begun))
}

// unwritten is the option of a file that could not be written; "" for none.
func (r *run) unwritten() string {
	for _, f := range r.files {
		if f.failed {
			return f.option
		}
	}
	return ""
}

// replace writes a file as a whole: whoever reads it meets the old content or the new.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, written := file.Write(content)
	err = errors.Join(written, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
