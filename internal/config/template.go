// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type LaunchTemplate
//go:generate packer-sdc struct-markdown

package config

import (
	"cmp"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// LaunchTemplate holds the options of a block `launch_template`.
type LaunchTemplate struct {
	// The name of the launch template. May contain [template variables](#template-variables).
	Name string `mapstructure:"name" required:"true"`
	// The version that the new one is based on: a number, `$Default` or `$Latest`. Default: `$Default`.
	SourceVersion string `mapstructure:"source_version"`
	// The description of the new version, at most 255 characters. May contain [template
	// variables](#template-variables). Default: none.
	Description string `mapstructure:"description"`
	// `true` makes the new version the default. Launches that name no version use it from then on. Default: `false`.
	SetDefaultVersion bool `mapstructure:"set_default_version"`
}

func (l *LaunchTemplate) template() distribution.LaunchTemplate {
	return distribution.LaunchTemplate{
		Template:    distribution.Text(l.Name),
		Source:      cmp.Or(l.SourceVersion, "$Default"),
		Description: distribution.Text(l.Description),
		SetDefault:  l.SetDefaultVersion,
	}
}

// check adds an error for each option that cannot be used.
func (l *LaunchTemplate) check(p *diagnostics) {
	if l.Name == "" {
		p.add("name", "missing; give the name of the launch template")
	}
	p.text("name", l.Name)
	p.limit("name", awslimits.TemplateName, l.Name)
	if literal(l.Name) && awslimits.Match(awslimits.TemplateID, l.Name) != nil {
		p.add("name", "%q is the ID of a launch template, which exists in one account and Region only; give its name", l.Name)
	}
	p.limit("source_version", awslimits.TemplateVersion, l.SourceVersion)
	p.text("description", l.Description)
	p.limit("description", awslimits.VersionDescription, l.Description)
}
