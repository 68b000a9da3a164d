// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// movesPointers reports whether a run only changes parameters and launch templates.
func (c *Config) movesPointers() bool { return c.Mode == ModePromote || c.Mode == ModeRollback }

// checkPointerMove checks the options of promote and rollback.
func (c *Config) checkPointerMove(p *diagnostics) {
	if c.AllowOlderRelease && c.Mode != ModePromote {
		p.add("allow_older_release", "no effect without mode = %q", ModePromote)
	}
	if len(c.OnlyTargets) > 0 && !c.movesPointers() {
		p.add("only_targets", "no effect without mode = %q or %q", ModePromote, ModeRollback)
	}
	for i, name := range c.OnlyTargets {
		isKnown := !literal(name) || slices.ContainsFunc(c.Targets, func(t Target) bool {
			return t.Name == name || !literal(t.Name)
		})
		if !isKnown {
			p.add(index("only_targets", i), "%q is the name of no target", name)
		}
	}
	if c.movesPointers() && c.MaxFailedDestinations > 0 {
		p.add("max_failed_destinations", "no effect with mode = %q, which changes all or nothing", c.Mode)
	}
	if c.movesPointers() && c.OptimizeFor == optimizeForTime {
		p.add("optimize_for", "no effect with mode = %q, which copies nothing", c.Mode)
	}
}

// pointerMove returns a request without the options that only a distribution uses.
func (c *Config) pointerMove(request distribution.Request) distribution.Request {
	request.Move = distribution.PointerMove(c.Mode)
	request.AllowOlderRelease = c.AllowOlderRelease
	request.PublishAll, request.Hold = false, false
	if len(c.OnlyTargets) > 0 {
		request.Targets = slices.DeleteFunc(request.Targets, func(t distribution.Target) bool {
			return !slices.Contains(c.OnlyTargets, t.Name)
		})
	}
	return request
}
