// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/resume"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

// resumeFile returns the path of the file that resumes the run. Empty if there is none.
func (r *run) resumeFile() string { return r.resumePath }

// writeResumeFile writes the resume file. If that fails, the run continues, and its error says how to resume without
// the file.
func (r *run) writeResumeFile() {
	if r.mode() != report.Distribute || r.directory() == "" || r.resumePath != "" {
		return
	}
	path, err := r.chooseResumePath()
	if err == nil {
		f := r.resumeTemplate(path)
		content, variables := f.Content()
		if err = replace(path, content); err == nil {
			r.resumePath, r.resumeVariables = path, variables
			r.ui.Machine(machineType, "file", "resume", path)
		}
	}
	if err != nil {
		r.ui.Error("The resume file cannot be written: " + err.Error())
	}
}

// resumeTemplate returns the resume file of this run.
func (r *run) resumeTemplate(path string) resume.File {
	released := version.Version
	if version.VersionPrerelease != "" {
		released = ""
	}
	return resume.File{
		Path:               path,
		PluginVersion:      released,
		Started:            r.result.Begun,
		RunID:              r.record.ID,
		SourceAccountID:    r.account,
		BaseAMI:            r.build.BaseAMI,
		BuildName:          r.build.Name,
		OutputDirectory:    r.directory(),
		Images:             r.imagesByBuildRegion(),
		Options:            config.RawOptions(r.raws...),
		Spec:               config.Spec(),
		SensitiveVariables: r.config.PackerSensitiveVars,
		Getenv:             os.Getenv,
	}
}

// imagesByBuildRegion returns the source AMIs, starting with that of the build's Region.
func (r *run) imagesByBuildRegion() []distribution.SourceImage {
	images := slices.Clone(r.images)
	slices.SortStableFunc(images, func(a, b distribution.SourceImage) int {
		isFirst := func(image distribution.SourceImage) int {
			if image.Region == r.build.Region {
				return 0
			}
			return 1
		}
		return isFirst(a) - isFirst(b)
	})
	return images
}

// chooseResumePath returns the path of the resume file. A file of another AMI in the same directory gets another name.
// The file of another block of the same build keeps its name, because the error of that block names it.
func (r *run) chooseResumePath() (string, error) {
	path := filepath.Join(r.directory(), resume.FileName)
	ami, run, err := identifyResumeFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", err
	case ami != r.imagesByBuildRegion()[0].ImageID:
		return path, os.Rename(path, filepath.Join(r.directory(), fmt.Sprintf("%s-%s.pkr.hcl", resume.FilePrefix, ami)))
	case r.userSupplied, run == r.record.ID, run == r.config.ResumedRun():
		return path, nil
	}
	return filepath.Join(r.directory(), fmt.Sprintf("%s-%.8s.pkr.hcl", resume.FilePrefix, r.record.ID)), nil
}

// identifyResumeFile returns the AMI and the run of a resume file. It returns an error if the plugin did not write the
// file.
func identifyResumeFile(path string) (ami, run string, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	ami, run, ok := resume.Identify(content)
	if !ok {
		return "", "", fmt.Errorf("%s was not written by this plugin", path)
	}
	return ami, run, nil
}

// removeResumeFiles deletes the resume files that are obsolete after a successful run: its own, that of the run that it
// resumed, and with existing AMIs those of the same AMI.
func (r *run) removeResumeFiles() {
	r.resumePath = ""
	if r.directory() == "" {
		return
	}
	paths, _ := filepath.Glob(filepath.Join(r.directory(), resume.FilePrefix+"*.pkr.hcl"))
	for _, path := range paths {
		ami, run, err := identifyResumeFile(path)
		isSameAMI := slices.ContainsFunc(r.images, func(image distribution.SourceImage) bool { return image.ImageID == ami })
		isDone := run == r.record.ID || run == r.config.ResumedRun() || r.userSupplied && isSameAMI
		if err != nil || !isDone {
			continue
		}
		if err := os.Remove(path); err != nil {
			r.ui.Error("The resume file cannot be deleted: " + err.Error())
		}
	}
}

// resumeOfManifest names the resume file and its variables for the manifest. Nil if there is none.
func (r *run) resumeOfManifest() *report.Resume {
	if r.resumePath == "" {
		return nil
	}
	m := &report.Resume{
		File:           filepath.Base(r.resumePath),
		Command:        resume.Command(r.resumePath, r.resumeVariables),
		CleanupCommand: resume.CleanupCommand(r.resumePath, r.resumeVariables),
		Variables:      []string{},
	}
	for _, v := range r.resumeVariables {
		if !v.Optional {
			m.Variables = append(m.Variables, v.Name)
		}
	}
	return m
}

// checkResumedAccount checks the account of a resumed run. With other credentials, nothing of the run could be found.
func (r *run) checkResumedAccount() error {
	if r.config.Resume == nil || r.config.Resume.SourceAccountID == "" || r.config.Resume.SourceAccountID == r.account {
		return nil
	}
	return fmt.Errorf("the credentials are of %s, the run to resume is of %s", r.account, r.config.Resume.SourceAccountID)
}

// isFinished reports whether a resumed run would have nothing to do.
func (r *run) isFinished() bool {
	switch r.mode() {
	case report.CleanUp:
		return true
	case report.Distribute:
		return len(unfinished(r.result)) == 0
	}
	return false
}

// printResumeFile prints the path of the resume file before the run creates anything.
func (r *run) printResumeFile() {
	if r.resumePath != "" {
		r.ui.Say("Writing " + r.resumePath + " to resume this run if it stops...")
	}
}
