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

// LaunchTemplate is a launch template, in each account and Region of the target, that gets a version with the image once that is verified:
// all else is as in another of its versions. The block may be repeated. Where a version names the image already, no other is made.
type LaunchTemplate struct {
	// The name of the launch template. May name [template variables](#template-variables). One of `name` and `id`.
	Name string `mapstructure:"name"`
	// The id of the launch template, `lt-...`: for a target of one account and Region.
	ID string `mapstructure:"id"`
	// The version that the new one is made from: a number, `$Default` or `$Latest`. Default: `$Default`.
	SourceVersion string `mapstructure:"source_version"`
	// The description of the new version, at most 255 characters. Default: none. May name [template variables](#template-variables).
	Description string `mapstructure:"description"`
	// `true` makes the new version the default one: what launches without naming a version takes the image from then on. Default: `false`.
	SetDefault bool `mapstructure:"set_default"`
}

func (l *LaunchTemplate) template() distribution.LaunchTemplate {
	return distribution.LaunchTemplate{
		Template:    distribution.Text(cmp.Or(l.ID, l.Name)),
		Source:      cmp.Or(l.SourceVersion, "$Default"),
		Description: distribution.Text(l.Description),
		SetDefault:  l.SetDefault,
	}
}

// check judges a launch template of a target with one place or many.
func (l *LaunchTemplate) check(p *diagnostics, many bool) {
	switch {
	case l.Name == "" && l.ID == "":
		p.add("name", "missing; or give id")
	case l.Name != "" && l.ID != "":
		p.add("id", "no effect beside name; give one of them")
	case l.ID != "" && many:
		p.add(
			"id",
			"a launch template belongs to one account and Region, and the target has several; give name, or targets of their own",
		)
	}
	p.limit("id", awslimits.TemplateID, l.ID)
	p.template("name", l.Name, false)
	p.limit("name", awslimits.TemplateName, l.Name)
	if literal(l.Name) && awslimits.Match(awslimits.TemplateID, l.Name) != nil {
		p.add("name", "%q is the ID of a launch template; write it in id", l.Name)
	}
	p.limit("source_version", awslimits.TemplateVersion, l.SourceVersion)
	p.template("description", l.Description, false)
	p.limit("description", awslimits.VersionDescription, l.Description)
}
