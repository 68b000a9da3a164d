// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

// file is a file in output_directory that shows the current state of the run.
type file struct {
	kind    string // name of the file in machine-readable output
	path    string
	content func() ([]byte, error)
	failed  bool // the last attempt to write it failed
	stale   bool // something has changed since
	rests   time.Time
}

// newFiles returns the files of output_directory. If the directory cannot be created, the run reports that and
// continues.
func (r *run) newFiles() []*file {
	directory, err := r.config.RenderOutputDirectory(r.images, r.build)
	if directory == "" && err == nil {
		return nil
	}
	if err == nil {
		err = os.MkdirAll(directory, 0o755)
	}
	if err != nil {
		r.ui.Error("output_directory: no files are written: " + err.Error())
		return nil
	}
	m := func() report.Manifest { return r.manifest() }
	return []*file{
		{
			kind:    "manifest",
			path:    filepath.Join(directory, r.fileName("manifest.json")),
			content: func() ([]byte, error) { return m().JSON() },
		},
		{
			kind:    "report_html",
			path:    filepath.Join(directory, r.fileName("report.html")),
			content: func() ([]byte, error) { return m().HTML() },
		},
		{
			kind:    "report_markdown",
			path:    filepath.Join(directory, r.fileName("report.md")),
			content: func() ([]byte, error) { return m().Markdown(), nil },
		},
	}
}

// fileName returns the name of a file. Every mode except distribute adds its name, so that it does not overwrite the
// files of the run that created the copies.
func (r *run) fileName(name string) string {
	if r.mode() == report.Distribute {
		return name
	}
	extension := filepath.Ext(name)
	return strings.TrimSuffix(name, extension) + "-" + string(r.mode()) + extension
}

func (f *file) name() string { return filepath.Base(f.path) }

// directory returns the directory of the files. Empty if the run writes none.
func (r *run) directory() string {
	for _, f := range r.files {
		return filepath.Dir(f.path)
	}
	return ""
}

// manifest returns the manifest with the current state of the run.
func (r *run) manifest() report.Manifest {
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
		RunID:         r.record.ID,
		ResumedRunID:  r.config.ResumedRun(),
		ImageFamily:   r.config.ImageFamily,
		Resume:        r.resumeOfManifest(),
		UpdatedAt:     updated,
	})
}

func (r *run) mode() report.Mode {
	switch r.config.Mode {
	case config.ModeCleanup:
		return report.CleanUp
	case config.ModeVerify:
		return report.Verify
	case config.ModePlan:
		return report.PlanOnly
	case config.ModePromote:
		return report.Promote
	case config.ModeRollback:
		return report.Rollback
	case config.ModeUsage:
		return report.Usage
	}
	return report.Distribute
}

// write writes all files. A file that cannot be written is reported once, and the run continues.
func (r *run) write() {
	for _, f := range r.files {
		r.writeFile(f)
	}
}

// twentieth limits the time for writing a file to a twentieth of the run. Writing the report of a thousand targets
// takes a tenth of a second, and a thousand targets can change their state at the same time.
const twentieth = 20

// writeDue writes the files that are out of date. It writes large ones less often.
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
		r.ui.Error("output_directory: " + err.Error())
	}
	f.failed, f.stale = err != nil, false
	f.rests = time.Now().Add(twentieth * time.Since(begun))
}

// replace writes a file atomically: a reader sees either the old or the new content.
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
