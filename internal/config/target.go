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

// Target names accounts that shall own a copy of the image: each account in each Region, with one set of options. The block may be
// repeated, and `dynamic "target"` works.
type Target struct {
	path string // in the template: target[0], targets_json[0]

	// A name for messages and reports. Default: `target[0]`, `target[1]`, ...
	Name string `mapstructure:"name"`
	// The accounts, 12 digits each, as strings: a number would lose its leading zeros. The source account itself is possible; it
	// needs no role, and the default name of its copy gets ` (encrypted)` appended.
	AccountIDs []string `mapstructure:"account_ids"`
	// Organizational units (`ou-...`), or the root of an organization (`r-...`), all of whose active accounts are targets as well, with those of units
	// below, but never the source account. They are listed in every run with the source credentials, or with those of
	// `organizations_role`. One of `account_ids` and `organizational_unit_ids` is required.
	OrganizationalUnitIDs []string `mapstructure:"organizational_unit_ids"`
	// Accounts of `organizational_unit_ids` that are not targets.
	ExcludeAccountIDs []string `mapstructure:"exclude_account_ids"`
	// The Regions. Default: those of the artifact. A Region without an image of the artifact is served from the one of which the least has to be staged first, or that an earlier run took.
	Regions []string `mapstructure:"regions"`
	// A role to assume in the target account. Repeat the block for a chain of roles: each is assumed with the session of the one before. See [assume_role](#assume_role).
	// One of `assume_role` and `profile`; only the source account needs neither.
	AssumeRole []AssumeRole `mapstructure:"assume_role"`
	// The profile of the shared configuration and credentials files whose credentials are the target account's.
	Profile string `mapstructure:"profile"`
	// The target account's key that its copies are encrypted with: an alias is looked up in every Region of the target; so is the id of a multi-Region key
	// (`mrk-...`); another key id, or an ARN, serves its own Region only. A key of a third account is given by ARN.
	// `default` is the account's default key of EBS encryption in each Region, whatever it is. May contain [template variables](#template-variables).
	KMSKeyID string `mapstructure:"kms_key_id" required:"true"`
	// Keys for some Regions, instead of `kms_key_id`: `{ "eu-west-1" = "alias/other" }`. May contain [template variables](#template-variables).
	RegionKMSKeyIDs map[string]string `mapstructure:"region_kms_key_ids"`
	// Grants on the key of the copies, for principals such as the service-linked role of Auto Scaling. See [kms_grant](#kms_grant).
	KMSGrants []KMSGrant `mapstructure:"kms_grant"`
	// The name of the copy, 3 to 128 characters. Default: the name of the image that is copied. May contain [template variables](#template-variables).
	AMIName string `mapstructure:"ami_name"`
	// The description of the copy, at most 255 ASCII characters. Default: that of the image that is copied. May contain [template variables](#template-variables).
	AMIDescription string `mapstructure:"ami_description"`
	// Tags of the copy, given in the call that makes it. They are added to the tags of the image that is copied, and override them.
	// The values may contain [template variables](#template-variables).
	Tags map[string]string `mapstructure:"tags"`
	// Tags of the snapshots of the copy, given in the call that makes each.
	// The values may contain [template variables](#template-variables).
	SnapshotTags map[string]string `mapstructure:"snapshot_tags"`
	// How the accounts get their copy. `snapshot`: each snapshot is copied, and the image registered from them: AWS tells exactly what is wrong where that fails, and
	// progress is seen. `image`: the image is copied in one call, which keeps what cannot be registered: the billing of Windows, RHEL and SUSE,
	// watermarks, the instance types that it allows; the image itself is shared for that time, or a staged copy of it. `auto`:
	// `snapshot`, and `image` where the image has something that it would lose otherwise. See [Methods](#methods). Default: `auto`.
	CopyMethod string `mapstructure:"copy_method"`
	// How long the copies into the target may take, in minutes: 15 to 2880, in steps of 15. AWS then promises it, for a price for each GiB. A copy moves
	// at most 500 MiB a second, and those of an account from one Region to another 2,000 together: no more are begun at once than AWS can complete in time. Default: as long as they take.
	SnapshotCopyDurationMinutes int `mapstructure:"snapshot_copy_duration_minutes"`
	// Deregisters the account's image that has the name of `ami_name` already, right before the copy is registered under it. See
	// [A name that is taken](#a-name-that-is-taken). Default: `false`: a name that is taken is refused.
	ForceDeregister bool `mapstructure:"force_deregister"`
	// With `force_deregister`: deletes the snapshots of that image as well; those that other images use stay. Default: `false`.
	ForceDeleteSnapshot bool `mapstructure:"force_delete_snapshot"`
	// ARNs of license configurations of AWS License Manager that count launches of the copy, in its Region. They may name
	// [template variables](#template-variables). License Manager counts every launch from then on, that of a `launch_check` as well, and refuses it where a hard limit is reached or a rule is broken.
	// What the image is associated with besides stays. Default: none.
	LicenseConfigurationARNs []string `mapstructure:"license_configuration_arns"`
	// Lets Windows instances of the copy launch sooner. See [fast_launch](#fast_launch). Default: it is left as it is.
	FastLaunch *FastLaunch `mapstructure:"fast_launch"`
	// Other accounts that may launch the copy, 12 digits each. They need the right to use the target's key, which has to be a customer managed one. What
	// was permitted before is never taken back.
	AMIUsers []string `mapstructure:"ami_users"`
	// ARNs of organizations whose accounts may launch the copy.
	AMIOrgARNs []string `mapstructure:"ami_org_arns"`
	// ARNs of organizational units whose accounts may launch the copy.
	AMIOUARNs []string `mapstructure:"ami_ou_arns"`
	// `false` lets the run succeed without this target: that it did not get its copy is told, and is no failure. Default: `true`.
	Required config.Trilean `mapstructure:"required"`
	// What happens to an account whose role cannot be assumed: `fail`, or `skip`, which reports it and continues without the account. Default: `fail`.
	OnMissingRole string `mapstructure:"on_missing_role"`
	// When the copy is deprecated, as `2027-06-30T00:00:00Z`: it is then hidden from the lists of other accounts, and can still be launched. At most ten
	// years ahead. For 90 days from now write `timeadd(timestamp(), "2160h")`. May contain [template variables](#template-variables). Default: never.
	DeprecateAt string `mapstructure:"deprecate_at"`
	// Protects the copy against deregistration. See [deregistration_protection](#deregistration_protection). Default: none.
	DeregistrationProtection *DeregistrationProtection `mapstructure:"deregistration_protection"`
	// Removes older releases of the AMI. See [retention](#retention). Requires `image_family`. Default: all are kept.
	Retention *Retention `mapstructure:"retention"`
	// Launches one instance of every image that the target gets, waits until it runs, and terminates it whatever comes of it. An image that does not launch
	// fails its destination, with AWS's reason. See [launch_check](#launch_check). Default: none is launched.
	LaunchCheck *LaunchCheck `mapstructure:"launch_check"`
	// A parameter of the SSM Parameter Store that shall name the image. The block may be repeated. See [ssm_parameter](#ssm_parameter).
	SSMParameters []SSMParameter `mapstructure:"ssm_parameter"`
	// A launch template that shall get a version with the image. The block may be repeated. See [launch_template](#launch_template).
	LaunchTemplates []LaunchTemplate `mapstructure:"launch_template"`
}

// label returns the name of the target in messages: its own, or its path.
func (t *Target) label() string { return named("target", t.Name, t.path) }

func (t *Target) target() distribution.Target {
	target := distribution.Target{
		Name:            t.Name,
		Optional:        t.Required.False(),
		AccountIDs:      slices.Sorted(slices.Values(t.AccountIDs)),
		Regions:         slices.Sorted(slices.Values(t.Regions)),
		Units:           slices.Sorted(slices.Values(t.OrganizationalUnitIDs)),
		ExcludedIDs:     slices.Sorted(slices.Values(t.ExcludeAccountIDs)),
		SkipMissingRole: t.OnMissingRole == skipMissingRole,
		Profile:         t.Profile,
		Method:          distribution.Method(t.CopyMethod),
		KMSKeyID:        distribution.Text(t.KMSKeyID),
		RegionKMSKeyIDs: texts(t.RegionKMSKeyIDs),
		AMIName:         distribution.Text(t.AMIName),
		AMIDescription:  distribution.Text(t.AMIDescription),
		Tags:            texts(t.Tags),
		SnapshotTags:    texts(t.SnapshotTags),
		CopyMinutes:     t.SnapshotCopyDurationMinutes,
		Lifecycle:       t.lifecycle(),
		DeprecateAt:     distribution.Text(t.DeprecateAt),
		Retention:       t.Retention.retention(),
		Roles:           rolesOf(t.AssumeRole),
	}
	if t.Name == "" {
		target.Name = t.path
	}
	if t.CopyMethod == "" {
		target.Method = distribution.Auto
	}
	for _, arn := range t.LicenseConfigurationARNs {
		target.Licenses = append(target.Licenses, distribution.Text(arn))
	}
	for _, grant := range t.KMSGrants {
		target.Grants = append(target.Grants, grant.grant())
	}
	if check := t.LaunchCheck; check != nil {
		target.LaunchCheck = &distribution.LaunchCheck{
			InstanceType: check.InstanceType,
			SubnetID:     check.SubnetID,
		}
		if check.SubnetFilter != nil {
			target.LaunchCheck.SubnetFilters = check.SubnetFilter.Filters
		}
	}
	for _, parameter := range t.SSMParameters {
		target.Parameters = append(target.Parameters, parameter.parameter())
	}
	for _, template := range t.LaunchTemplates {
		target.Templates = append(target.Templates, template.template())
	}
	return target
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

// check judges a target. chained: its roles are assumed with the session of a role.
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

// checkPointers checks what will name the images of the target.
func (t *Target) checkPointers(p *diagnostics) {
	for i, parameter := range t.SSMParameters {
		in := p.in(index("ssm_parameter", i))
		parameter.check(in)
		same := func(o SSMParameter) bool {
			return literal(o.Name) && strings.TrimPrefix(o.Name, "/") == strings.TrimPrefix(parameter.Name, "/")
		}
		if slices.ContainsFunc(t.SSMParameters[:i], same) {
			in.add("name", "%q is named twice", parameter.Name)
		}
	}
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

// What becomes of an account whose role cannot be assumed.
const (
	failMissingRole = "fail"
	skipMissingRole = "skip"
)

// checkUnits judges who is named by organizational units.
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

// checkOwner checks that the last role belongs to the target account, because the account owns what its role creates (rule 5.10).
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
