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

// DeregistrationProtection keeps everybody from deregistering the copy, whatever they are allowed, until somebody switches it off. This plugin never does.
type DeregistrationProtection struct {
	// `false` leaves the copy without protection. Default: `true`.
	Enabled config.Trilean `mapstructure:"enabled"`
	// `true` lets the protection hold for a day longer after it was switched off. Default: `false`.
	WithCooldown bool `mapstructure:"with_cooldown"`
}

func (t *Target) lifecycle() distribution.Lifecycle {
	l := distribution.Lifecycle{
		DeprecateAfter: t.DeprecateAfter,
		Users: distribution.LaunchPermissions{}.And(
			distribution.LaunchPermissions{Accounts: t.AMIUsers, Organizations: t.AMIOrgARNs, Units: t.AMIOUARNs},
		),
	}
	l.ForceDeregister, l.ForceDeleteSnapshot = t.ForceDeregister, t.ForceDeleteSnapshot
	l.FastLaunch = t.fastLaunch()
	l.DeprecateAt, _ = time.Parse(time.RFC3339, t.DeprecateAt)
	if d := t.DeregistrationProtection; d != nil && !d.Enabled.False() {
		l.Protection = &distribution.Protection{Cooldown: d.WithCooldown}
	}
	return l
}

// checkLifecycle judges what the target wants of its images beyond their being there.
func (t *Target) checkLifecycle(p *diagnostics) {
	p.numberLimit("snapshot_copy_duration_minutes", awslimits.CopyMinutes, t.SnapshotCopyDurationMinutes)
	t.checkDeprecation(p)
	if t.KeepReleases < 0 {
		p.add("keep_releases", "%d is no number of releases: the new one counts, so 1 is the least", t.KeepReleases)
	}
	if t.KeepFor != notKnown && t.KeepFor < 0 {
		p.add("keep_for", "%s is no time to keep a release", t.KeepFor)
	}
	if t.KeepReleasesDryRun && t.KeepReleases == 0 && t.KeepFor == 0 {
		p.add("keep_releases_dry_run", "no effect without keep_releases or keep_for")
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
	for i, arn := range t.LicenseConfigurationARNs {
		p.template(index("license_configuration_arns", i), arn, false)
		p.limit(index("license_configuration_arns", i), awslimits.LicenseARN, arn)
	}
	p.twice("license_configuration_arns", t.LicenseConfigurationARNs)
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

// clock is the time of the check; tests set it.
var clock = time.Now

// checkDeprecation checks when the copy is deprecated. A time that is past when the template is validated is past in
// the run as well.
func (t *Target) checkDeprecation(p *diagnostics) {
	now := clock()
	if literal(t.DeprecateAt) {
		at, err := time.Parse(time.RFC3339, t.DeprecateAt)
		if err != nil {
			p.add("deprecate_at", "%s is not a time such as 2027-06-30T00:00:00Z", abridged(t.DeprecateAt))
		} else if err := awslimits.CheckTime(awslimits.DeprecationTime, at, now); err != nil {
			p.add("deprecate_at", "%q %w", t.DeprecateAt, err)
		}
	}
	if t.DeprecateAfter != notKnown && t.DeprecateAfter != 0 {
		if err := awslimits.CheckTime(awslimits.DeprecationTime, now.Add(t.DeprecateAfter), now); err != nil {
			p.add("deprecate_after", "the time in %s %w", t.DeprecateAfter, err)
		}
	}
	if t.DeprecateAt != "" && t.DeprecateAfter != 0 {
		p.add("deprecate_after", "no effect beside deprecate_at; give one of them")
	}
}
