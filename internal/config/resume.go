// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/resume"
)

// Resume identifies the run that a resume file resumes. The plugin writes the block. A resumed run verifies its values
// in AWS.
type Resume struct {
	// The id of the run. Its record is a tag of the source AMI.
	RunID string `mapstructure:"run_id"`
	// The account of the run's source credentials.
	SourceAccountID string `mapstructure:"source_account_id"`
	// The AMI that the build started from.
	SourceAMI string `mapstructure:"source_ami"`
	// The name of the build.
	BuildName string `mapstructure:"build_name"`
}

// checkResume checks the block of a resume file, which a user may have edited.
func (c *Config) checkResume(p *diagnostics) {
	if c.Resume == nil {
		return
	}
	in := p.in("resume")
	if len(c.ExistingAMIs) == 0 {
		in.add("run_id", "no effect without existing_amis")
	}
	in.limit("source_account_id", awslimits.AccountID, c.Resume.SourceAccountID)
	in.limit("source_ami", awslimits.ImageID, c.Resume.SourceAMI)
}

// ResumedRun returns the ID of the run that this one resumes. Empty if it resumes none.
func (c *Config) ResumedRun() string {
	if c.Resume == nil {
		return ""
	}
	return c.Resume.RunID
}

// ResumedBuild returns what the build reported in the run that this one resumes.
func (c *Config) ResumedBuild(build distribution.Build) distribution.Build {
	if c.Resume == nil {
		return build
	}
	build.Name, build.BaseAMI = c.Resume.BuildName, c.Resume.SourceAMI
	return build
}

// checkResumeFile checks that the directory of the resume file has no other template. Otherwise "packer build" of that
// directory would load the resume file too.
func (c *Config) checkResumeFile(p *diagnostics) {
	directory := c.outputDirectory()
	if !literal(directory) {
		return
	}
	if working, err := os.Getwd(); err == nil {
		if absolute, err := filepath.Abs(directory); err == nil && absolute == working {
			p.add("output_directory", "%q is the working directory; give a directory below it, such as \"dist\"", directory)
			return
		}
	}
	templates, _ := filepath.Glob(filepath.Join(directory, "*.pkr.hcl"))
	more, _ := filepath.Glob(filepath.Join(directory, "*.pkr.json"))
	for _, template := range append(templates, more...) {
		if name := filepath.Base(template); !strings.HasPrefix(name, resume.FilePrefix) {
			p.add(
				"output_directory",
				"%q holds the template %s, and \"packer build\" of the directory would load the resume file "+
					"with it; give a directory of its own",
				directory,
				name,
			)
			return
		}
	}
}
