// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// DeregistrationProtection holds the options of a block `deregistration_protection`.
type DeregistrationProtection struct {
	// `false` leaves the copy unprotected. Default: `true`.
	Enabled config.Trilean `mapstructure:"enabled"`
	// `true` keeps the protection for 24 hours after it is disabled. Default: `false`.
	WithCooldown bool `mapstructure:"with_cooldown"`
}

func (t *Target) lifecycle() distribution.Lifecycle {
	l := distribution.Lifecycle{
		Users: distribution.LaunchPermissions{}.And(
			distribution.LaunchPermissions{Accounts: t.AMIUsers, Organizations: t.AMIOrgARNs, Units: t.AMIOUARNs},
		),
	}
	l.ForceDeregister, l.ForceDeleteSnapshot = t.ForceDeregister, t.ForceDeleteSnapshot
	l.FastLaunch = t.fastLaunch()
	if d := t.DeregistrationProtection; d != nil && !d.Enabled.False() {
		l.Protection = &distribution.Protection{Cooldown: d.WithCooldown}
	}
	return l
}

// checkLifecycle checks the settings that the copies get after they are registered.
func (t *Target) checkLifecycle(p *diagnostics) {
	p.numberLimit("snapshot_copy_duration_minutes", awslimits.CopyMinutes, t.SnapshotCopyDurationMinutes)
	p.numberLimit("volume_initialization_rate", awslimits.InitializationRate, t.VolumeInitializationRate)
	if t.VolumeInitializationRate != 0 && t.CopyMethod == string(distribution.ByImage) {
		p.add("volume_initialization_rate", "no effect with copy_method = %q, which keeps that of the source AMI",
			distribution.ByImage)
	}
	t.checkDeprecation(p)
	if t.Retention != nil {
		t.Retention.check(p.in("retention"))
	}
	if d := t.DeregistrationProtection; d != nil && d.Enabled.False() && d.WithCooldown {
		p.in("deregistration_protection").add("with_cooldown", "no effect with enabled = false")
	}
	if t.FastLaunch != nil {
		t.FastLaunch.check(p.in("fast_launch"), len(t.AccountIDs) > 1 || len(t.Regions) > 1)
	}
	if t.ForceDeregister && t.AMIName == "" {
		p.add("force_deregister", "no effect without ami_name; only what has a name that the template gives is deregistered")
	}
	if t.ForceDeleteSnapshot && !t.ForceDeregister {
		p.add("force_delete_snapshot", "no effect without force_deregister")
	}
}

// watermarks checks the names of watermarks.
func (p *diagnostics) watermarks(names []string) {
	p.countLimit("watermarks", awslimits.Watermarks, len(names))
	for i, name := range names {
		p.limit(index("watermarks", i), awslimits.WatermarkName, name)
	}
	p.twice("watermarks", names)
}

func (t *Target) checkLaunchPermissions(p *diagnostics) {
	for i, account := range t.AMIUsers {
		p.account(index("ami_users", i), account)
		if literal(account) && slices.Equal(t.AccountIDs, []string{account}) && len(t.OrganizationalUnitIDs) == 0 {
			p.add(index("ami_users", i), "no effect; %s owns a copy", account)
		}
	}
	p.twice("ami_users", t.AMIUsers)
	p.organizations("ami_org_arns", t.AMIOrgARNs, awslimits.OrganizationARN)
	p.organizations("ami_ou_arns", t.AMIOUARNs, awslimits.OrganizationalUnitARN)
	p.launchPermissions("ami_users", t.AMIUsers, t.AMIOrgARNs, t.AMIOUARNs)
}

// clock is the time of the check. Tests set it.
var clock = time.Now

// checkDeprecation checks when the copy is deprecated. A time that is in the past during validation is in the past
// during the run as well.
func (t *Target) checkDeprecation(p *diagnostics) {
	p.text("deprecate_at", t.DeprecateAt)
	text, isSample := sampleOf(t.DeprecateAt)
	if !isSample {
		text = t.DeprecateAt
	}
	if !literal(text) {
		return
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		p.add(
			"deprecate_at",
			"%s is not a time such as 2027-06-30T00:00:00Z; for 90 days from now write timeadd(timestamp(), \"2160h\")",
			abridged(text),
		)
		return
	}
	if isSample {
		return
	}
	if err := awslimits.CheckTime(awslimits.DeprecationTime, at, clock()); err != nil {
		p.add("deprecate_at", "%q %w", t.DeprecateAt, err)
	}
}

// Retention holds the options of a block `retention`.
type Retention struct {
	// How many releases are kept in each account and Region, including the one of this run.
	KeepReleases int `mapstructure:"keep_releases"`
	// How long releases are kept after their creation, such as `2160h` for 90 days. With both
	// options, a release is removed only if neither keeps it.
	KeepFor time.Duration `mapstructure:"keep_for"`
	// How many further releases are disabled before they are deregistered. Nothing can launch a disabled AMI, and
	// `aws ec2 enable-image` undoes that. Default: `0`; releases are deregistered at once.
	DisableReleases int `mapstructure:"disable_releases"`
	// `true` reports what would be removed, and removes nothing. Default: `false`.
	DryRun bool `mapstructure:"dry_run"`
}

// SourceRetention holds the options of a block `source_retention`.
type SourceRetention struct {
	// How many source AMIs of the image family are kept in each Region, including that of this run.
	KeepReleases int `mapstructure:"keep_releases"`
	// How long source AMIs are kept after their creation. Both options work together as in [retention](#retention).
	KeepFor time.Duration `mapstructure:"keep_for"`
	// How many further source AMIs are disabled before they are deregistered. Default: `0`.
	DisableReleases int `mapstructure:"disable_releases"`
	// `true` reports what would be removed, and removes nothing. Default: `false`.
	DryRun bool `mapstructure:"dry_run"`
}

func (r *Retention) retention() distribution.Retention {
	if r == nil {
		return distribution.Retention{}
	}
	return distribution.Retention{
		Releases: r.KeepReleases,
		For:      r.KeepFor,
		Disabled: r.DisableReleases,
		DryRun:   r.DryRun,
	}
}

func (r *Retention) check(p *diagnostics) {
	if r.KeepReleases == 0 && r.KeepFor == 0 {
		p.add("keep_releases", "missing, and keep_for as well; give one of them")
	}
	if r.KeepReleases < 0 {
		p.add("keep_releases", "%d is not a number of releases; the new one counts, so give 1 or more", r.KeepReleases)
	}
	if r.DisableReleases < 0 {
		p.add("disable_releases", "%d is negative; give 0 or more", r.DisableReleases)
	}
	if r.KeepFor != notKnown && r.KeepFor < 0 {
		p.add("keep_for", "%s is negative; write a duration such as \"2160h\"", r.KeepFor)
	}
}
