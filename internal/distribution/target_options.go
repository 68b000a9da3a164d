// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import "time"

// TargetOptions holds the options of a target that its destinations inherit. A Text is a template in a target, and is
// rendered in a destination. The struct tag is the name of the option in the template, or in its block.
type TargetOptions struct {
	Optional        bool   // its failure does not fail the run
	SkipMissingRole bool   // skip an account whose role cannot be assumed
	Profile         string // profile of the shared configuration. Empty for none
	CopyMinutes     int    // completion duration of copies, 15 to 2880 in steps of 15; 0 without time-based copy (4.8)
	VolumeRate      int    // initialization rate of volumes in MiB/s; 0 for that of the source image (9.10)
	Lifecycle       Lifecycle
	Watermarks      []string // names of watermarks that the account attaches to its image, sorted (9.17)
	Retention       Retention
	LaunchCheck     *LaunchCheck // nil for none
	Licenses        []Text       `option:"license_configuration_arns"`
	PublishTargets
}

// LaunchCheck holds the parameters of the instance that tests every copy of a target.
type LaunchCheck struct {
	InstanceType  string
	SubnetID      string            // if empty, SubnetFilters select the subnet
	SubnetFilters map[string]string // if empty, AWS chooses a subnet of the default VPC
}

// Lifecycle holds the settings of a target's images after they are registered.
type Lifecycle struct {
	DeprecateAt time.Time         // never if zero
	Protection  *Protection       // against deregistration; nil for none
	FastLaunch  *FastLaunch       // of a Windows image; nil for no change
	Users       LaunchPermissions // launch permissions; the accounts also need the target's key

	ForceDeregister     bool // deregister another image with the same name
	ForceDeleteSnapshot bool // and delete its snapshots
}

// Protection is the deregistration protection of an image (A.2).
type Protection struct {
	Cooldown bool // it stays in effect for 24 hours after it is disabled
}

// FastLaunch holds the parameters of EnableFastLaunch, which creates snapshots for Windows launches in advance (9.0).
type FastLaunch struct {
	TemplateID, TemplateName string // launch template for the snapshots; that of AWS if both are empty
	TemplateVersion          int    // of the launch template
	MaxParallelLaunches      int    // at least 6; the default of AWS if 0
	TargetResourceCount      int    // snapshots to keep; the default of AWS if 0
}

// Retention says which releases of an image family a target keeps: a number of the newest, and those below an age. The
// zero value keeps all.
type Retention struct {
	Releases int           // number of newest releases, with that of this run; 0 to keep none by number
	For      time.Duration // age since the creation of the image; 0 to keep none by age
	Disabled int           // number of further releases that are disabled before they are deleted
	DryRun   bool          // report what would be deleted
}

// On reports whether releases are deleted.
func (r Retention) On() bool { return r.Releases > 0 || r.For > 0 }
