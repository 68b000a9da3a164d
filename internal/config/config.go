// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type Config,Target,Share,AssumeRole,LaunchCheck,SubnetFilter,KMSGrant,DeregistrationProtection,FastLaunch,Retention,SourceRetention,Resume
//go:generate packer-sdc struct-markdown

// Package config holds the options of a template, validates them, and converts them into a request.
package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/mitchellh/mapstructure"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Config is the block of the post-processor in a template.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Access              `mapstructure:",squash"`

	// The KMS key in the source account that encrypts what is shared with the targets. Snapshots that have another
	// key are first copied with this one, in the source account. An alias, or the ID of a multi-Region key
	// (`mrk-...`), is looked up in each Region. Another key ID or an ARN is valid in its own Region only. The target
	// accounts need permission to use it. Default: none; snapshots must then have a customer managed key.
	KMSKeyID string `mapstructure:"kms_key_id"`
	// Keys for some Regions, instead of `kms_key_id`: `{ "eu-west-1" = "alias/other" }`.
	RegionKMSKeyIDs map[string]string `mapstructure:"region_kms_key_ids"`
	// The accounts that get their own copy. See [target](#target). At least one `target` or `share` is required.
	Targets []Target `mapstructure:"target"`
	// Accounts, organizations and organizational units that may launch the AMI without a copy. See [share](#share).
	Shares []Share `mapstructure:"share"`
	// The AMIs to distribute, one for each Region: `{ "eu-west-1" = "ami-0123456789abcdef0" }`. Use it with
	// `source "null"`. A run tags these AMIs, and neither protects nor removes them. Default: the AMIs of the build.
	ExistingAMIs map[string]string `mapstructure:"existing_amis"`
	// What a run does:
	//
	//   - `distribute` copies, shares and publishes.
	//   - `plan` prints the plan and its cost, and changes nothing in AWS. The AMI of the build is kept.
	//   - `verify` compares what the targets own with `existing_amis`, and changes nothing in AWS.
	//   - `cleanup` removes what earlier runs of the AMI left unfinished, and keeps the AMI.
	//   - `promote` sets every SSM parameter and launch template of the targets to the copies of `existing_amis`, after
	//     it has verified all copies.
	//   - `rollback` sets each SSM parameter and launch template that has a copy of `existing_amis` back to the AMI
	//     before it.
	//   - `usage` reports what uses each release of the image family in the targets, and changes nothing in AWS.
	//
	// Default: `distribute`.
	Mode string `mapstructure:"mode"`
	// The credentials that assume the roles of the targets: `source`, the source credentials; or `base`, those that
	// assume the top-level `assume_role`. Default: `source`.
	AssumeRoleFrom string `mapstructure:"assume_role_from"`
	// A role in the management account or in a delegated administrator account, which lists the accounts of
	// `organizational_unit_ids`. The source credentials assume it. See [assume_role](#assume_role). Default: the source
	// credentials list them.
	OrganizationsRole *AssumeRole `mapstructure:"organizations_role"`
	// How the targets get permission to use the source account's keys:
	//
	//   - `key_policy`: the key policies allow it.
	//   - `grant`: the run creates a temporary KMS grant for the role of each target, and revokes it after the
	//     copies. See [Access to the source's keys](#access-to-the-sources-keys).
	//
	// Default: `key_policy`.
	SourceKeyAccess string `mapstructure:"source_key_access"`
	// What decides how copies reach a Region that has no source AMI, if several accounts there get one:
	//
	//   - `cost`: the source account makes one staged copy in the Region, and all accounts copy it. The AMI is
	//     transferred between Regions once.
	//   - `time`: each account copies from the Region of the source AMI, and the AMI is transferred once for each
	//     account. If the largest volume needs a staged copy in that Region anyway, this is not faster, and the run
	//     copies as with `cost`.
	//
	// `mode = "plan"` shows cost and duration of the other value. Default: `cost`.
	OptimizeFor string `mapstructure:"optimize_for"`
	// `true` shares unencrypted snapshots without encrypting them if there is no `kms_key_id`. The copies of the targets
	// are encrypted. Default: `false`; unencrypted snapshots are an error.
	AllowUnencryptedShare bool `mapstructure:"allow_unencrypted_share"`
	// The targets as a JSON list, instead of blocks: `jsonencode(local.targets)`. Each element has the options of a
	// [target](#target), with nested blocks as lists of objects. Use it to share one list with the data source
	// `encrypted-ami-preflight`, which has no `dynamic` blocks.
	TargetsJSON string `mapstructure:"targets_json"`
	// What happens if a copy cannot keep an attribute of the AMI, which depends on `copy_method`: `warn` lists the
	// attribute in the plan, `fail` makes it an error. Default: `warn`.
	OnAttributeLoss string `mapstructure:"on_attribute_loss"`
	// When parameters and launch templates get the new AMIs: `each`, as soon as the AMI of the same account and
	// Region is verified; `all`, when those of all required targets are; or `hold`, only by a run with
	// `mode = "promote"`. Default: `each`.
	Publish string `mapstructure:"publish"`
	// With `mode = "promote"`: `true` also replaces newer releases. Default: `false`; a parameter or launch template
	// that has a newer release is an error.
	AllowOlderRelease bool `mapstructure:"allow_older_release"`
	// With `mode = "promote"` or `rollback`: the names of the targets whose parameters and launch templates are
	// changed, for a promotion in stages. Default: all targets.
	OnlyTargets []string `mapstructure:"only_targets"`
	// The name that all releases of an image share, such as `web-server`, 1 to 256 characters. It is stored in a tag of
	// the source AMI. Required with `retention` and `source_retention`, which find older releases by it. Default: none.
	ImageFamily string `mapstructure:"image_family"`
	// Names of watermarks that the source account attaches to the source AMI before it is copied, such as `["golden"]`:
	// at most 5, each of 3 to 128 characters. Only `CopyImage` keeps them, so `copy_method = "auto"` uses it. See
	// [Watermarks](#watermarks). Default: none.
	Watermarks []string `mapstructure:"watermarks"`
	// Removes source AMIs of older releases: see [source_retention](#source_retention).
	SourceRetention *SourceRetention `mapstructure:"source_retention"`
	// The maximum duration of a run. After it, each unfinished destination fails. Default: `12h`.
	Timeout time.Duration `mapstructure:"timeout"`
	// How many destinations may fail without failing the run. Those of targets with `required = false` do not count.
	// Default: `0`.
	MaxFailedDestinations int `mapstructure:"max_failed_destinations"`
	// What happens to unfinished copies when a run fails: `keep` lists them, and a resumed run uses them; `cleanup`
	// deletes them, as `mode = "cleanup"` does. Finished AMIs of targets stay. Default: `keep`.
	OnFailure string `mapstructure:"on_failure"`
	// The directory for `manifest.json`, `report.html`, `report.md` and `resume.pkr.hcl`, created if it is missing. In
	// other modes than `distribute`, the names have the mode, such as `manifest-verify.json`, so the files of the run
	// that made the copies stay. `""` writes no files. May contain `{{ .AMI }}`, `{{ .SourceAMI }}` and
	// `{{ .PackerRunUUID }}`. Default: `encrypted-ami/{{ .AMI }}`.
	OutputDirectory *string `mapstructure:"output_directory"`
	// `true` also adds the AMIs of the targets to HCP Packer, with the account in a label `account_<ami-id>`. A lookup
	// by Region may then return the AMI of any account. Default: `false`.
	HCPPacker bool `mapstructure:"hcp_packer"`
	// Tags of temporary resources, set when they are created: staged copies, test copies in the targets, and the
	// instances of launch checks with their volumes and network interfaces. Use it if a policy requires tags. The values
	// may contain [template variables](#template-variables). Default: none.
	RunTags map[string]string `mapstructure:"run_tags"`
	// `true` copies an empty 1 GiB snapshot to each destination that waits for a staged copy, with the same roles and
	// keys. A destination whose test copy fails is reported within minutes and gets no other copy. Default: `true` with
	// several destinations.
	TestCopy config.Trilean `mapstructure:"test_copy"`
	// How often a run checks the copies of an account in a Region, from `1s` to `5m`; less often in the middle of a long
	// copy. Default: `15s`.
	PollInterval time.Duration `mapstructure:"poll_interval"`
	// The run that a resume file resumes.
	Resume *Resume `mapstructure:"resume" undocumented:"true"`
}

// DefaultTimeout is the default of timeout.
const DefaultTimeout = 12 * time.Hour

// DefaultOutputDirectory is the default of output_directory.
const DefaultOutputDirectory = "encrypted-ami/{{ .AMI }}"

// Values of mode.
const (
	ModeDistribute = "distribute"
	ModePlan       = "plan"
	ModeVerify     = "verify"
	ModeCleanup    = "cleanup"
	ModePromote    = "promote"
	ModeRollback   = "rollback"
	ModeUsage      = "usage"
)

// Values of assume_role_from.
const (
	fromSource = "source"
	fromBase   = "base"
)

// Values of publish.
const (
	publishEach = "each"
	publishAll  = "all"
	publishHold = "hold"
)

// Values of on_failure.
const (
	keepOnFailure    = "keep"
	cleanupOnFailure = "cleanup"
)

// Values of optimize_for.
const (
	optimizeForCost = "cost"
	optimizeForTime = "time"
)

// Values of on_attribute_loss.
const (
	warnOfLosses = "warn"
	failOnLosses = "fail"
)

// Prepare decodes what Packer passes, sets the defaults, and validates everything that can be validated before a run.
// It does not validate unknown values, or reject missing list elements that may only be unknown yet. It returns all
// errors at once.
func (c *Config) Prepare(raws ...any) error {
	*c = Config{}
	if err := decode(c, raws); err != nil {
		return err
	}
	p := newProblems()
	c.readTargetsJSON(p)
	c.fill()
	c.check(p)
	return p.err()
}

// ownTemplates are options with template variables of the plugin. They are decoded separately, because Packer would
// render them too early.
var ownTemplates = []string{"target", "targets_json", "share", "output_directory", "run_tags"}

// decode reads the raw values into a Config or a Preflight.
func decode(into any, raws []any) error {
	var rest, apart []any
	for _, raw := range raws {
		options, err := optionsOf(raw)
		if err != nil {
			return err
		}
		if options == nil {
			rest = append(rest, raw)
			continue
		}
		for _, option := range ownTemplates {
			apart = append(apart, map[string]any{option: options[option]})
			delete(options, option)
		}
		rest = append(rest, options)
	}
	hooks := append([]mapstructure.DecodeHookFunc{unknownDuration}, config.DefaultDecodeHookFuncs...)
	p := newProblems()
	p.take(config.Decode(
		into,
		&config.DecodeOpts{PluginType: "encrypted-ami", Interpolate: true, DecodeHooks: hooks},
		rest...))
	p.take(config.Decode(into, &config.DecodeOpts{DecodeHooks: hooks}, apart...))
	return p.err()
}

// optionsOf returns a raw value as options by name. Nil if the value holds Packer's own data instead of a block. HCL2
// values arrive as cty values, JSON templates as maps.
func optionsOf(raw any) (map[string]any, error) {
	var options map[string]any
	switch raw := raw.(type) {
	case cty.Value:
		text, err := ctyjson.SimpleJSONValue{Value: raw}.MarshalJSON()
		if err != nil {
			return nil, err
		}
		return options, json.Unmarshal(text, &options)
	case map[string]any:
		return maps.Clone(raw), nil
	case map[any]any: // a map[string]any that came over the wire
		if !slices.ContainsFunc(ownTemplates, func(option string) bool { return raw[option] != nil }) {
			return nil, nil
		}
		return options, mapstructure.Decode(raw, &options)
	}
	return nil, nil
}

// notKnown represents a duration that Packer does not know yet.
const notKnown = time.Duration(math.MinInt64)

// unknownDuration decodes Packer's placeholder for unknown text as a duration, and explains invalid durations.
func unknownDuration(_, to reflect.Type, value any) (any, error) {
	text, ok := value.(string)
	if !ok || to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	if strings.Contains(text, unknown) {
		return notKnown, nil
	}
	if _, err := time.ParseDuration(text); err != nil {
		return nil, fmt.Errorf("%q is not a duration; write it with a unit, such as \"90m\" or \"12h\"", text)
	}
	return value, nil
}

// fill sets the defaults.
func (c *Config) fill() {
	c.Mode = cmp.Or(c.Mode, ModeDistribute)
	c.AssumeRoleFrom = cmp.Or(c.AssumeRoleFrom, fromSource)
	c.SourceKeyAccess = cmp.Or(c.SourceKeyAccess, string(distribution.ByPolicy))
	c.Publish = cmp.Or(c.Publish, publishEach)
	c.OnFailure = cmp.Or(c.OnFailure, keepOnFailure)
	c.OptimizeFor = cmp.Or(c.OptimizeFor, optimizeForCost)
	c.OnAttributeLoss = cmp.Or(c.OnAttributeLoss, warnOfLosses)
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.PollInterval = cmp.Or(c.PollInterval, 15*time.Second)
}

// check adds an error for each option that cannot be used.
func (c *Config) check(p *diagnostics) {
	c.Access.check(p)
	p.sharedKeys(c.KMSKeyID, c.RegionKMSKeyIDs)
	if c.AllowUnencryptedShare && c.KMSKeyID != "" {
		p.add("allow_unencrypted_share", "no effect beside kms_key_id, with which everything shared is encrypted")
	}
	p.oneOf("assume_role_from", c.AssumeRoleFrom, fromSource, fromBase)
	if c.AssumeRoleFrom == fromBase && c.AssumeRole == nil {
		p.add("assume_role_from", "%q has no effect without the top-level assume_role", fromBase)
	}
	p.oneOf("optimize_for", c.OptimizeFor, optimizeForCost, optimizeForTime)
	p.oneOf("on_attribute_loss", c.OnAttributeLoss, warnOfLosses, failOnLosses)
	if c.OrganizationsRole != nil {
		c.OrganizationsRole.checkTopLevel(p.in("organizations_role"))
	}
	p.oneOf("source_key_access", c.SourceKeyAccess, string(distribution.ByPolicy), string(distribution.ByGrant))
	c.checkExistingAMIs(p)
	c.checkMode(p)
	c.checkFailures(p)
	c.checkFamily(p)
	p.watermarks(c.Watermarks)
	c.checkOutputDirectory(p)
	c.checkResume(p)
	p.tags("run_tags", c.RunTags, imageTags)
	for _, key := range sorted(c.RunTags) {
		p.template(element("run_tags", key), c.RunTags[key], runTagFields)
	}
	c.checkTimes(p)

	chained := c.AssumeRole != nil && c.AssumeRoleFrom == fromSource
	named := map[string]string{}
	for i := range c.Targets {
		t := &c.Targets[i]
		in := p.in(t.label())
		if other, there := named[t.Name]; there && literal(t.Name) {
			in.add("name", "%q is the name of %s too; give each target its own name", t.Name, other)
		}
		named[t.Name] = t.path
		t.check(in, chained)
	}
	c.checkLocations(p)
	for i := range c.Shares {
		in := p.in(c.Shares[i].label(i))
		c.Shares[i].check(in, chained, c.Publish == publishHold)
	}
	c.checkProfiles(p)
	c.checkRequired(p)
}

// checkExistingAMIs checks the AMIs that the template names instead of those of a build.
func (c *Config) checkExistingAMIs(p *diagnostics) {
	for _, region := range sorted(c.ExistingAMIs) {
		field, id := element("existing_amis", region), c.ExistingAMIs[region]
		p.region(field, region)
		if err := awslimits.Check(awslimits.ImageID, id); err != nil && !strings.Contains(id, unknown) {
			p.add(field, "%s %w", abridged(id), err)
		}
	}
	if c.ExistingAMIs == nil && c.PackerBuilderType == "null" { // an empty map may still be unknown
		p.add(
			"existing_amis",
			"missing; source \"null\" builds no AMI. Example: existing_amis = { \"eu-west-1\" = \"ami-0123456789abcdef0\" }",
		)
	}
	if len(c.ExistingAMIs) > 0 && c.hasAmazonBuilder() {
		p.add("existing_amis", "no effect beside the AMI that %s builds; use it with source \"null\"", c.PackerBuilderType)
	}
}

// hasAmazonBuilder reports whether the builder of the template is known to build AMIs.
func (c *Config) hasAmazonBuilder() bool { return strings.HasPrefix(c.PackerBuilderType, "amazon-") }

// checkMode checks mode, and which options have an effect in it.
func (c *Config) checkMode(p *diagnostics) {
	p.oneOf("mode", c.Mode, ModeDistribute, ModePlan, ModeVerify, ModeCleanup, ModePromote, ModeRollback, ModeUsage)
	c.checkPointerMove(p)
	if (c.Mode == ModeVerify || c.Mode == ModeUsage || c.movesPointers()) && c.hasAmazonBuilder() {
		p.add(
			"mode",
			"%q has no effect on the AMI that %s builds, which no target owns yet; use it with source \"null\" and "+
				"existing_amis",
			c.Mode,
			c.PackerBuilderType,
		)
	}
	if c.Mode != ModeCleanup {
		return
	}
	if c.MaxFailedDestinations > 0 {
		p.add("max_failed_destinations", "no effect with mode = %q, which distributes nothing", ModeCleanup)
	}
	if c.OnFailure == cleanupOnFailure {
		p.add("on_failure", "%q has no effect with mode = %q, which distributes nothing", cleanupOnFailure, ModeCleanup)
	}
}

// checkFailures checks what happens when destinations fail.
func (c *Config) checkFailures(p *diagnostics) {
	p.oneOf("publish", c.Publish, publishEach, publishAll, publishHold)
	p.oneOf("on_failure", c.OnFailure, keepOnFailure, cleanupOnFailure)
	if c.MaxFailedDestinations < 0 {
		p.add("max_failed_destinations", "%d is negative; give 0 or more", c.MaxFailedDestinations)
	}
	if c.Publish == publishAll && c.MaxFailedDestinations > 0 {
		p.add(
			"max_failed_destinations",
			"no effect beside publish = %q, which publishes nothing unless all required images are complete",
			publishAll,
		)
	}
}

// checkFamily checks image_family and the options that require it.
func (c *Config) checkFamily(p *diagnostics) {
	p.limit("image_family", awslimits.TagValue, c.ImageFamily)
	if r := (*Retention)(c.SourceRetention); r != nil {
		r.check(p.in("source_retention"))
		if c.ImageFamily == "" {
			p.add("source_retention", "no effect without image_family, by which older releases are found; set image_family")
		}
	}
	for i := range c.Targets {
		if t := &c.Targets[i]; c.ImageFamily == "" && t.Retention != nil {
			p.in(t.label()).
				add("retention", "no effect without image_family, by which older releases are found; set image_family")
		}
	}
}

func (c *Config) checkTimes(p *diagnostics) {
	if c.Timeout != notKnown && c.Timeout <= 0 {
		p.add("timeout", "%s is not a positive duration; write it as \"12h\"", c.Timeout)
	}
	if c.PollInterval != notKnown && (c.PollInterval < time.Second || c.PollInterval > 5*time.Minute) {
		p.add("poll_interval", "%s is not between 1s and 5m", c.PollInterval)
	}
}

// checkLocations checks that no account and Region is in two targets. A target without regions is checked when it runs.
func (c *Config) checkLocations(p *diagnostics) {
	first := map[distribution.Location]string{}
	for i := range c.Targets {
		t := &c.Targets[i]
		locations := map[distribution.Location]bool{} // the check of each target reports repetitions within the target
		for j, account := range t.AccountIDs {
			for _, region := range t.Regions {
				at := distribution.Location{Account: account, Region: region}
				if other, there := first[at]; there && literal(account) && literal(region) && !locations[at] {
					p.in(t.label()).
						add(index("account_ids", j), "%s has %s in %s already; name each account and Region once", other, account, region)
				}
				locations[at] = true
			}
		}
		for at := range locations {
			if _, there := first[at]; !there {
				first[at] = t.label()
			}
		}
	}
}

// optional returns nil for an option that is not set, so that the plan chooses the value.
func optional(option config.Trilean) *bool { return option.ToBoolPointer() }

// SourceImages returns the images of existing_amis, sorted by Region.
func (c *Config) SourceImages() []distribution.SourceImage {
	var images []distribution.SourceImage
	for _, region := range sorted(c.ExistingAMIs) {
		images = append(images, distribution.SourceImage{Region: region, ImageID: c.ExistingAMIs[region]})
	}
	return images
}

// outputDirectoryFields are the template variables that are known before any lookup.
var outputDirectoryFields = []string{"AMI", "PackerRunUUID", "SourceAMI"}

// runTagFields are the template variables for the tags of temporary resources, which several targets may share.
var runTagFields = []string{"AMI", "AMIName", "AccountId", "PackerRunUUID", "Partition", "Region", "SourceAMI"}

// checkOutputDirectory checks the template of output_directory. In the working directory, "packer build ." would load
// the resume file.
func (c *Config) checkOutputDirectory(p *diagnostics) {
	directory := c.outputDirectory()
	p.template("output_directory", directory, outputDirectoryFields)
	c.checkResumeFile(p)
}

// outputDirectory returns the template of output_directory. Empty if the run writes no files.
func (c *Config) outputDirectory() string {
	if c.OutputDirectory == nil {
		return DefaultOutputDirectory
	}
	return *c.OutputDirectory
}

// RenderOutputDirectory returns the directory of the files. Empty if the run writes no files, or while the option is
// unknown.
func (c *Config) RenderOutputDirectory(images []distribution.SourceImage, build distribution.Build) (string, error) {
	directory := c.outputDirectory()
	if strings.Contains(directory, unknown) {
		return "", nil
	}
	vars := distribution.Vars{SourceAMI: build.BaseAMI, PackerRunUUID: build.RunID}
	for _, image := range images {
		if vars.AMI == "" || image.Region == build.Region {
			vars.AMI = image.ImageID
		}
	}
	return distribution.Text(directory).Render(vars, c.functions(build))
}

// CleansUp reports whether a failed run deletes what it leaves unfinished.
func (c *Config) CleansUp() bool { return c.OnFailure == cleanupOnFailure && !c.movesPointers() }

// Request returns the request of the template for these images. Its errors are those that Prepare could not find yet:
// values that are still unknown, and a template that requests nothing.
func (c *Config) Request(images []distribution.SourceImage, build distribution.Build) (distribution.Request, error) {
	p := newProblems()
	p.unknowns(c)
	c.checkNotEmpty(p)
	request := distribution.Request{
		Images:                slices.Clone(images),
		KMSKeyID:              c.KMSKeyID,
		RegionKMSKeyIDs:       c.RegionKMSKeyIDs,
		AllowUnencryptedShare: c.AllowUnencryptedShare,
		TestCopy:              optional(c.TestCopy),
		SourceKeyAccess:       distribution.SourceKeyAccess(c.SourceKeyAccess),
		OptimizeForTime:       c.OptimizeFor == optimizeForTime,
		MaxFailedDestinations: c.MaxFailedDestinations,
		PublishAll:            c.Publish == publishAll,
		Hold:                  c.Publish == publishHold,
		Usage:                 c.Mode == ModeUsage,
		Watermarks:            slices.Sorted(slices.Values(c.Watermarks)),
		SourceRetention:       (*Retention)(c.SourceRetention).retention(),
		ImageFamily:           c.ImageFamily,
		AssumeRoleFrom:        c.AssumeRoleFrom,
		Strict:                c.OnAttributeLoss == failOnLosses,
		Timeout:               c.Timeout,
		PollInterval:          c.PollInterval,
		Build:                 build,
		RunTags:               texts(c.RunTags),
		Functions:             c.functions(build),
	}
	if c.OrganizationsRole != nil {
		request.OrganizationRoles = []distribution.Role{c.OrganizationsRole.role()}
	}
	for i := range c.Targets {
		request.Targets = append(request.Targets, c.Targets[i].target())
	}
	if c.movesPointers() {
		return c.pointerMove(request), p.err()
	}
	for i := range c.Shares {
		request.Shares = append(request.Shares, c.Shares[i].share(i))
	}
	return request, p.err()
}

// functions returns the values for Packer's template functions.
func (c *Config) functions(build distribution.Build) distribution.TemplateFunctions {
	return distribution.TemplateFunctions{
		BuildName:     cmp.Or(build.Name, c.PackerBuildName),
		UserVariables: c.PackerUserVars,
		Getenv:        os.Getenv,
	}
}

// checkNotEmpty checks lists that were unknown when the template was validated.
func (c *Config) checkNotEmpty(p *diagnostics) {
	if len(c.Targets)+len(c.Shares) == 0 {
		p.add(
			"target",
			"missing, and share as well: no account gets the AMI. If dynamic blocks make them, their list was empty",
		)
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		if len(t.AccountIDs)+len(t.OrganizationalUnitIDs) == 0 {
			p.in(t.label()).add("account_ids", "empty, and organizational_unit_ids as well: no account gets a copy")
		}
		if len(t.ExcludeAccountIDs) > 0 && len(t.OrganizationalUnitIDs) == 0 {
			p.in(t.label()).add("exclude_account_ids", "no effect without organizational_unit_ids")
		}
	}
	for i := range c.Shares {
		s := &c.Shares[i]
		if s.isEmpty() {
			p.in(s.label(i)).
				add("account_ids", "empty, and organization_arns and organizational_unit_arns as well: no account may launch the "+
					"AMI")
		}
		if len(s.KMSGrants) > 0 && len(s.AccountIDs) == 0 {
			p.in(s.label(i)).add("kms_grant", "no effect without account_ids: each account creates its own grants")
		}
	}
}
