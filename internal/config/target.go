// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc struct-markdown

package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Target holds the options of a block `target`.
type Target struct {
	path string // in the template: target[0], targets_json[0]

	// The name in messages and reports. Default: `target[0]`, `target[1]`, ...
	Name string `mapstructure:"name"`
	// Account IDs, as strings of 12 digits. The source account itself needs no role. One of `account_ids` and
	// `organizational_unit_ids` is required.
	AccountIDs []string `mapstructure:"account_ids"`
	// IDs of organizational units (`ou-...`) or of the root (`r-...`). All active accounts in them and in child units
	// are targets, except the source account. Each run lists them, with the source credentials or with
	// `organizations_role`.
	OrganizationalUnitIDs []string `mapstructure:"organizational_unit_ids"`
	// Accounts of `organizational_unit_ids` that are not targets.
	ExcludeAccountIDs []string `mapstructure:"exclude_account_ids"`
	// The Regions that get a copy. For a Region without an AMI of the artifact, the AMI of another Region is copied: the
	// one that needs the fewest staged copies. Default: the Regions of the artifact.
	Regions []string `mapstructure:"regions"`
	// A role in the target account, or a chain of roles: see [assume_role](#assume_role). One of `assume_role` and
	// `profile` is required, except for the source account.
	AssumeRole []AssumeRole `mapstructure:"assume_role"`
	// A profile whose credentials belong to the target account.
	Profile string `mapstructure:"profile"`
	// The target account's key that encrypts its copies. It is looked up like the top-level `kms_key_id`. A key of
	// another account needs an ARN. `default` is the account's default EBS key. May contain [template
	// variables](#template-variables).
	KMSKeyID string `mapstructure:"kms_key_id" required:"true"`
	// Keys for some Regions, instead of `kms_key_id`: `{ "eu-west-1" = "alias/other" }`. May contain [template
	// variables](#template-variables).
	RegionKMSKeyIDs map[string]string `mapstructure:"region_kms_key_ids"`
	// Permanent grants on the key of the copies, for example for Auto Scaling. See [kms_grant](#kms_grant).
	KMSGrants []KMSGrant `mapstructure:"kms_grant"`
	// The name of the copy, 3 to 128 characters. May contain [template variables](#template-variables). Default: the
	// name of the source AMI; in the source account, that name with ` (encrypted)` at its end.
	AMIName string `mapstructure:"ami_name"`
	// The description of the copy, at most 255 ASCII characters. May contain [template
	// variables](#template-variables). Default: that of the source AMI.
	AMIDescription string `mapstructure:"ami_description"`
	// Tags of the copy, added to those of the source AMI. The values may contain [template
	// variables](#template-variables).
	Tags map[string]string `mapstructure:"tags"`
	// Tags of the snapshots of the copy, added to those of the source snapshots. The values may contain [template
	// variables](#template-variables).
	SnapshotTags map[string]string `mapstructure:"snapshot_tags"`
	// How the accounts copy the AMI:
	//
	//   - `auto` copies snapshots, unless the AMI has an attribute that only `CopyImage` keeps. The plan says which
	//     one is used.
	//   - `snapshot` copies each snapshot and calls `RegisterImage`. Progress and errors are reported for each
	//     volume.
	//   - `image` calls `CopyImage` once. It keeps every attribute and reports little about errors. AWS shares an AMI
	//     with at most 1,000 accounts, so more accounts copy it in batches.
	//
	// See [Methods](#methods). Default: `auto`.
	CopyMethod string `mapstructure:"copy_method"`
	// Requests time-based copies that complete within this time, for a price per GiB: 15 to 2880 minutes, in steps of
	// 15. A run starts only as many copies at once as AWS can complete in time. Default: standard copies.
	SnapshotCopyDurationMinutes int `mapstructure:"snapshot_copy_duration_minutes"`
	// The rate at which EBS loads the blocks of each volume at a launch, 100 to 300 MiB/s, for a price per GiB. It is
	// stored in the AMI. Needs `copy_method = "snapshot"` or `auto`. Default: that of the source AMI. Without a rate,
	// EBS loads a block when it is first read.
	VolumeInitializationRate int `mapstructure:"volume_initialization_rate"`
	// `true` deregisters the account's AMI that already has the name of the copy, right before the copy is registered.
	// See [AMI names](#ami-names). Default: `false`; a name in use is an error.
	ForceDeregister bool `mapstructure:"force_deregister"`
	// With `force_deregister`, `true` also deletes the snapshots of that AMI that no other AMI uses. Default:
	// `false`.
	ForceDeleteSnapshot bool `mapstructure:"force_delete_snapshot"`
	// ARNs of AWS License Manager license configurations in the Region of the copy. License Manager counts each
	// launch, also that of a `launch_check`, and refuses it at a hard limit. Existing associations stay. May contain
	// [template variables](#template-variables). Default: none.
	LicenseConfigurationARNs []string `mapstructure:"license_configuration_arns"`
	// Names of watermarks that the target account attaches to its copies, such as `["approved"]`, in addition to those
	// that the copies keep. AWS allows 5 for an AMI. See [Watermarks](#watermarks). Default: none.
	Watermarks []string `mapstructure:"watermarks"`
	// Enables EC2 Fast Launch for Windows AMIs. See [fast_launch](#fast_launch). Default: unchanged.
	FastLaunch *FastLaunch `mapstructure:"fast_launch"`
	// Other accounts that may launch the copy. They need permission to use the target's key, which must be customer
	// managed. Permissions that exist already are never removed.
	AMIUsers []string `mapstructure:"ami_users"`
	// ARNs of organizations whose accounts may launch the copy.
	AMIOrgARNs []string `mapstructure:"ami_org_arns"`
	// ARNs of organizational units whose accounts may launch the copy.
	AMIOUARNs []string `mapstructure:"ami_ou_arns"`
	// `false` lets the run succeed if this target fails. The failure is reported. Default: `true`.
	Required config.Trilean `mapstructure:"required"`
	// What happens to an account whose role cannot be assumed: `fail`, or `skip`, which reports it and continues
	// without the account. If every account is skipped, the run fails. Default: `fail`.
	OnMissingRole string `mapstructure:"on_missing_role"`
	// When the copy is deprecated, such as `2027-06-30T00:00:00Z`, at most ten years ahead. Other accounts then no
	// longer see it in lists, but can still launch it. For 90 days from now: `timeadd(timestamp(), "2160h")`. May
	// contain [template variables](#template-variables). Default: never.
	DeprecateAt string `mapstructure:"deprecate_at"`
	// Protects the copy from deregistration. See [deregistration_protection](#deregistration_protection). Default:
	// none.
	DeregistrationProtection *DeregistrationProtection `mapstructure:"deregistration_protection"`
	// Removes older releases of the AMI. See [retention](#retention). Requires `image_family`. Default: all are kept.
	Retention *Retention `mapstructure:"retention"`
	// Launches each new AMI. If the instance does not start, the destination fails with AWS's reason. See
	// [launch_check](#launch_check). Default: none.
	LaunchCheck *LaunchCheck `mapstructure:"launch_check"`
	// An SSM parameter that gets the ID of the AMI. See [ssm_parameter](#ssm_parameter).
	SSMParameters []SSMParameter `mapstructure:"ssm_parameter"`
	// A launch template that gets a version with the AMI. See [launch_template](#launch_template).
	LaunchTemplates []LaunchTemplate `mapstructure:"launch_template"`
}

// label returns the name of the target in messages: its name option, or its index.
func (t *Target) label() string { return named("target", t.Name, t.path) }

func (t *Target) target() distribution.Target {
	target := distribution.Target{
		TargetOptions:   t.options(),
		Name:            t.Name,
		AccountIDs:      slices.Sorted(slices.Values(t.AccountIDs)),
		Regions:         slices.Sorted(slices.Values(t.Regions)),
		Units:           slices.Sorted(slices.Values(t.OrganizationalUnitIDs)),
		ExcludedIDs:     slices.Sorted(slices.Values(t.ExcludeAccountIDs)),
		Method:          distribution.Method(t.CopyMethod),
		KMSKeyID:        distribution.Text(t.KMSKeyID),
		RegionKMSKeyIDs: texts(t.RegionKMSKeyIDs),
		AMIName:         distribution.Text(t.AMIName),
		AMIDescription:  distribution.Text(t.AMIDescription),
		Tags:            texts(t.Tags),
		SnapshotTags:    texts(t.SnapshotTags),
		DeprecateAt:     distribution.Text(t.DeprecateAt),
		Roles:           rolesOf(t.AssumeRole),
	}
	if t.Name == "" {
		target.Name = t.path
	}
	if t.CopyMethod == "" {
		target.Method = distribution.Auto
	}
	for _, grant := range t.KMSGrants {
		target.Grants = append(target.Grants, grant.grant())
	}
	return target
}

// options returns the options that each destination of the target inherits.
func (t *Target) options() distribution.TargetOptions {
	options := distribution.TargetOptions{
		Optional:        t.Required.False(),
		SkipMissingRole: t.OnMissingRole == skipMissingRole,
		Profile:         t.Profile,
		CopyMinutes:     t.SnapshotCopyDurationMinutes,
		VolumeRate:      t.VolumeInitializationRate,
		Lifecycle:       t.lifecycle(),
		Watermarks:      slices.Sorted(slices.Values(t.Watermarks)),
		Retention:       t.Retention.retention(),
	}
	for _, arn := range t.LicenseConfigurationARNs {
		options.Licenses = append(options.Licenses, distribution.Text(arn))
	}
	if check := t.LaunchCheck; check != nil {
		options.LaunchCheck = &distribution.LaunchCheck{
			InstanceType: check.InstanceType,
			SubnetID:     check.SubnetID,
		}
		if check.SubnetFilter != nil {
			options.LaunchCheck.SubnetFilters = check.SubnetFilter.Filters
		}
	}
	for _, parameter := range t.SSMParameters {
		options.Parameters = append(options.Parameters, parameter.parameter())
	}
	for _, template := range t.LaunchTemplates {
		options.Templates = append(options.Templates, template.template())
	}
	return options
}

// rolesOf returns the chain of roles to an account, in order.
func rolesOf(blocks []AssumeRole) (roles []distribution.Role) {
	for _, role := range blocks {
		roles = append(roles, role.role())
	}
	return roles
}

func texts(values map[string]string) map[string]distribution.Text {
	if values == nil {
		return nil
	}
	out := make(map[string]distribution.Text, len(values))
	for key, value := range values {
		out[key] = distribution.Text(value)
	}
	return out
}

// check checks a target. chained is true if its roles are assumed with the session of a role.
func (t *Target) check(p *diagnostics, chained bool) {
	for i, account := range t.AccountIDs {
		p.account(index("account_ids", i), account)
	}
	p.twice("account_ids", t.AccountIDs)
	t.checkUnits(p)
	for i, region := range t.Regions {
		p.region(index("regions", i), region)
	}
	p.twice("regions", t.Regions)
	p.oneOf(
		"copy_method",
		t.CopyMethod,
		string(distribution.Auto),
		string(distribution.BySnapshot),
		string(distribution.ByImage),
	)
	t.checkLifecycle(p)
	t.checkLicenses(p)
	p.watermarks(t.Watermarks)
	t.checkLaunchPermissions(p)
	t.checkCredentials(p, chained)
	p.targetKeys(t.KMSKeyID, t.RegionKMSKeyIDs, t.Regions)
	p.text("ami_name", t.AMIName)
	p.limit("ami_name", awslimits.ImageName, t.AMIName)
	p.text("ami_description", t.AMIDescription)
	p.limit("ami_description", awslimits.Description, t.AMIDescription)
	for i := range t.KMSGrants {
		t.KMSGrants[i].check(p.in(index("kms_grant", i)))
	}
	if t.LaunchCheck != nil {
		t.LaunchCheck.check(p.in("launch_check"), len(t.AccountIDs) > 1 || len(t.Regions) > 1)
	}
	t.checkPointers(p)
	p.tags("tags", t.Tags, imageTags)
	p.texts("tags", t.Tags)
	p.tags("snapshot_tags", t.SnapshotTags, imageTags)
	p.texts("snapshot_tags", t.SnapshotTags)
}

// checkLicenses checks the license configurations of the copies.
func (t *Target) checkLicenses(p *diagnostics) {
	for i, arn := range t.LicenseConfigurationARNs {
		p.text(index("license_configuration_arns", i), arn)
		p.limit(index("license_configuration_arns", i), awslimits.LicenseARN, arn)
	}
	p.twice("license_configuration_arns", t.LicenseConfigurationARNs)
}

// checkPointers checks the parameters and launch templates that will name the images of the target.
func (t *Target) checkPointers(p *diagnostics) {
	p.parameters(t.SSMParameters)
	for i, template := range t.LaunchTemplates {
		in := p.in(index("launch_template", i))
		template.check(in)
		if slices.ContainsFunc(
			t.LaunchTemplates[:i],
			func(o LaunchTemplate) bool { return literal(o.Name) && o.Name == template.Name },
		) {
			in.add("name", "%q is named twice", template.Name)
		}
	}
}

// These are the values of on_missing_role.
const (
	failMissingRole = "fail"
	skipMissingRole = "skip"
)

// checkUnits checks the options about organizational units.
func (t *Target) checkUnits(p *diagnostics) {
	for i, unit := range t.OrganizationalUnitIDs {
		p.limit(index("organizational_unit_ids", i), awslimits.RootOrUnitID, unit)
	}
	p.twice("organizational_unit_ids", t.OrganizationalUnitIDs)
	for i, account := range t.ExcludeAccountIDs {
		p.account(index("exclude_account_ids", i), account)
	}
	p.twice("exclude_account_ids", t.ExcludeAccountIDs)
	p.oneOf("on_missing_role", t.OnMissingRole, failMissingRole, skipMissingRole)
	if t.OnMissingRole == skipMissingRole && len(t.AssumeRole) == 0 {
		p.add("on_missing_role", "no effect without assume_role")
	}
}

// checkCredentials checks the credentials of the target accounts.
func (t *Target) checkCredentials(p *diagnostics, chained bool) {
	if len(t.AssumeRole) > 0 && t.Profile != "" {
		p.add("profile", "no effect beside assume_role; give one of them")
	}
	for i, role := range t.AssumeRole {
		in := p.in(index("assume_role", i))
		role.checkInDestination(in, chained || i > 0)
		if i == len(t.AssumeRole)-1 {
			t.checkOwner(in, role.RoleARN)
		}
	}
}

// checkOwner checks that the last role belongs to the target account, because the account owns what its role creates
// (rule 5.10).
func (t *Target) checkOwner(p *diagnostics, role string) {
	arn := awslimits.Match(awslimits.RoleARN, role)
	if arn == nil {
		return
	}
	for _, account := range t.AccountIDs {
		if awslimits.Check(awslimits.AccountID, account) == nil && account != arn[2] {
			p.add(
				"role_arn",
				"%q is a role of account %s, not of %s; give role_name, or write {{ .AccountId }} for the account",
				role,
				arn[2],
				account,
			)
			return
		}
	}
}

// account checks an account ID.
func (p *diagnostics) account(field, account string) {
	if account != "" && !literal(account) && !strings.Contains(account, "{{") ||
		awslimits.Check(awslimits.AccountID, account) == nil {
		return
	}
	digits := strings.ReplaceAll(strings.ReplaceAll(account, "-", ""), " ", "")
	switch {
	case len(digits) == 12 && awslimits.Check(awslimits.AccountID, digits) == nil:
		p.add(field, "%q is not 12 digits. Did you mean %q?", account, digits)
	case onlyDigits.MatchString(account):
		p.add(field, "%q has %s; an account ID has 12. Write it as a string to keep a leading zero",
			account, distribution.Count(len(account), "digit", "digits"))
	default:
		p.add(field, "%q is not an account ID, which has 12 digits", account)
	}
}

var onlyDigits = regexp.MustCompile(`^[0-9]+$`)
