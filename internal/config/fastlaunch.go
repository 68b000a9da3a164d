// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// FastLaunch holds the options of a block `fast_launch`.
type FastLaunch struct {
	// `false` changes nothing. Default: `true`.
	EnableFastLaunch config.Trilean `mapstructure:"enable_fast_launch"`
	// The ID of the launch template for those instances, for a target of one account and Region. Default: AWS's own.
	TemplateID string `mapstructure:"template_id"`
	// The name of the launch template. Conflicts with `template_id`.
	TemplateName string `mapstructure:"template_name"`
	// The version of the launch template. Required with `template_id` or `template_name`.
	TemplateVersion int `mapstructure:"template_version"`
	// How many instances AWS launches at once, 6 or more. Default: AWS's own.
	MaxParallelLaunches int `mapstructure:"max_parallel_launches"`
	// How many snapshots AWS keeps ready. Default: AWS's own.
	TargetResourceCount int `mapstructure:"target_resource_count"`
}

// fastLaunch returns the fast launch settings of a target. Nil if it enables none.
func (t *Target) fastLaunch() *distribution.FastLaunch {
	f := t.FastLaunch
	if f == nil || f.EnableFastLaunch.False() {
		return nil
	}
	return &distribution.FastLaunch{
		TemplateID: f.TemplateID, TemplateName: f.TemplateName, TemplateVersion: f.TemplateVersion,
		MaxParallelLaunches: f.MaxParallelLaunches, TargetResourceCount: f.TargetResourceCount,
	}
}

// hasOptions reports whether any option except enable_fast_launch is set.
func (f *FastLaunch) hasOptions() bool {
	return f.TemplateID != "" || f.TemplateName != "" || f.TemplateVersion != 0 ||
		f.MaxParallelLaunches != 0 || f.TargetResourceCount != 0
}

// check reports options of a fast_launch block that AWS would reject or that have no effect. many is true if the
// target has several accounts or Regions.
func (f *FastLaunch) check(p *diagnostics, many bool) {
	f.checkTemplate(p, many)

	p.limit("template_id", awslimits.TemplateID, f.TemplateID)
	p.limit("template_name", awslimits.TemplateName, f.TemplateName)
	p.numberLimit("template_version", awslimits.FastLaunchVersion, f.TemplateVersion)
	p.numberLimit("max_parallel_launches", awslimits.ParallelLaunches, f.MaxParallelLaunches)
	if f.TargetResourceCount < 0 {
		p.add("target_resource_count", "%d is no number of snapshots", f.TargetResourceCount)
	}
}

// checkTemplate reports options of the launch template that contradict each other.
func (f *FastLaunch) checkTemplate(p *diagnostics, many bool) {
	named := f.TemplateID != "" || f.TemplateName != ""

	switch {
	case f.EnableFastLaunch.False() && f.hasOptions():
		p.add("enable_fast_launch", "with false all other options have no effect")
	case f.TemplateID != "" && f.TemplateName != "":
		p.add("template_name", "no effect beside template_id; give one of them")
	case f.TemplateID != "" && many:
		p.add(
			"template_id",
			"a launch template belongs to one account and Region, and the target has several; give template_name, or targets "+
				"of their own",
		)
	case named && f.TemplateVersion == 0:
		p.add("template_version", "missing")
	case !named && f.TemplateVersion != 0:
		p.add("template_version", "no effect without template_id or template_name")
	}
}
