// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type Config,Organizations,Target,Share,AssumeRole,LaunchCheck,Grant,DeregistrationProtection,FastLaunch
//go:generate packer-sdc struct-markdown

// Package config holds the options of a template, judges them, and turns them into a request.
package config

import (
	"encoding/json"
	"maps"
	"math"
	"path/filepath"
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

	// The source account's key that everything shared is encrypted with: what is not, is copied within the source account
	// first. An alias, or the id of a multi-Region key (`mrk-...`), is looked up in every Region where something is shared;
	// another key id, or an ARN, serves its own Region only. The target accounts need the right to use it, and nothing encrypted with a key that AWS
	// manages can be shared. Default: none; what a customer managed key encrypts already is then shared as it is.
	KMSKeyID string `mapstructure:"kms_key_id"`
	// Keys for some Regions, instead of `kms_key_id`: `{ "eu-west-1" = "alias/other" }`.
	RegionKMSKeyIDs map[string]string `mapstructure:"region_kms_key_ids"`
	// Images to hand on in place of a build's, one for each Region: `{ "eu-west-1" = "ami-0123456789abcdef0" }`. For `source "null"`, or another builder that
	// makes no image: to go on after a run that failed, or with any image of your own. They stay yours: they are neither protected nor ever
	// removed. Empty under `source "null"`, there is nothing to do, and that is no failure. See [Taking up a failed run](#taking-up-a-failed-run).
	SourceAMIs map[string]string `mapstructure:"source_amis"`
	// `true` shares unencrypted snapshots as they are, where no key is given; the targets' copies are encrypted all the
	// same. Default: `false`, unencrypted snapshots are refused.
	AllowUnencryptedShare bool `mapstructure:"allow_unencrypted_share"`
	// How the targets come to use the source account's keys while they copy. `policy`: the key policies admit them. `grant`: the run gives each target's role a
	// grant of its own before its copies, and revokes it after them, whatever comes of the run; one that was cut off leaves that to the next. See
	// [Access to the source's keys](#access-to-the-sources-keys). Default: `policy`.
	SourceKeyAccess string `mapstructure:"source_key_access"`
	// `true` tries every destination before its copies can begin: while the source account copies its snapshots, an empty snapshot of 1 GiB under the same key is
	// made, shared with the targets, copied by each under its own key, looked at and removed. A destination that fails this is told within minutes, and nothing else
	// is done for it. Nothing is tried where nothing has to be copied in the source account first: there the copies themselves show it as soon. Default: `true` where
	// more than one destination is to be served.
	Canary config.Trilean `mapstructure:"canary"`
	// `false` leaves the image without protection during the run. Packer deregisters the image of a build whose post-processor
	// fails; therefore the image gets deregistration protection first, and loses it as the last act of a run that succeeds.
	// Images that are protected already stay so. Default: `true`.
	ProtectSource config.Trilean `mapstructure:"protect_source"`
	// What the targets' roles are assumed with: `source`, the source credentials; or `base`, the credentials that the
	// top-level `assume_role` itself was assumed with. Default: `source`.
	AssumeRoleFrom string `mapstructure:"assume_role_from"`
	// What becomes of attributes that a target's image cannot have: `report` lists them in the plan, `strict` refuses the run. Which those are depends
	// on the target's `method`. Default: `report`.
	Fidelity string `mapstructure:"fidelity"`
	// How many destinations, each an account in a Region, may fail without failing the run. Those of targets with `required = false` are not counted. Default: `0`.
	MaxFailedTargets int `mapstructure:"max_failed_targets"`
	// When parameters and launch templates may name the new images: `each`, as soon as the image of the same account and Region is verified and,
	// where asked, launched; or `all`, when those of all required targets are. Targets with `required = false` hold nobody back. Default: `each`.
	Publish string `mapstructure:"publish"`
	// The line of images that this one is a release of, such as `web-server`, up to 256 characters: it is kept in a tag of the source image, and tells the targets' older releases
	// (`keep_releases`, `keep_for`) from images of other templates. Default: none.
	ReleaseLine string `mapstructure:"release_line"`
	// `true` gives the images of the targets to HCP Packer as well, each with a label `account_<image>` that names its account. Labels belong to the whole
	// build there, and a look-up by Region takes whichever image comes first: the builder's or a target's. Default: `false`.
	HCPPacker bool `mapstructure:"hcp_packer"`
	// What becomes of unfinished work when a run fails: `keep` leaves completed and pending copies for the next run to go on with, listed
	// as left behind; `clean` removes everything that is unfinished, as `cleanup_only` does. What targets have got stays theirs. Default: `keep`.
	OnFailure string `mapstructure:"on_failure"`
	// `true` hands nothing on: what earlier runs of this image have left unfinished in the targets and the source account is removed,
	// as far as it is provably theirs, and the image is kept. Default: `false`.
	CleanupOnly bool `mapstructure:"cleanup_only"`
	// `true` prints the plan, what it costs and what other choices would cost, and changes nothing in AWS: nothing is made, shared or tagged, and the
	// image gets no protection. The image is kept, whatever comes of it. See [Only the plan](#only-the-plan). Default: `false`.
	PlanOnly bool `mapstructure:"plan_only"`
	// `true` copies nothing, and looks whether every target still has the image that `source_amis` names: sealed, as its source is, its key enabled and not
	// expiring within 30 days, with all parameters and launch templates of the template naming it. Whatever is not so is listed, and fails
	// the run. Nothing is changed in AWS. Default: `false`.
	VerifyOnly bool `mapstructure:"verify_only"`
	// A file for the result as JSON. Its folder has to exist. It is replaced as a whole whenever a destination gets on and at the end, whatever that is; a build
	// of several sources takes one for each, as `manifest-${source.name}.json`. See [Manifest](#manifest).
	ManifestPath string `mapstructure:"manifest_path"`
	// A file for a report of the run, by its ending: `.html`, a page that needs nothing else; `.md`, for the summary of a CI job; or `.json`. Its folder has
	// to exist. It is replaced as a whole, as that of `manifest_path` is. See [Report](#report).
	ReportPath string `mapstructure:"report_path"`
	// `true` shows in the report the ARNs of roles and users, and the policy statements to add, which name them. External ids are never shown. Default: `false`.
	ReportDetails bool `mapstructure:"report_details"`
	// The longest time for the whole run. Default: `12h`.
	Timeout time.Duration `mapstructure:"timeout"`
	// The longest time for the copy of one snapshot. Default: `6h`, or `timeout` where that is shorter.
	CopyTimeout time.Duration `mapstructure:"copy_timeout"`
	// The shortest time between two looks at the copies of an account in a Region, between `1s` and `5m`. Long copies are looked at
	// less often. Default: `15s`.
	PollInterval time.Duration `mapstructure:"poll_interval"`
	// Who may list the accounts of organizational units that targets name. See [organizations](#organizations).
	Organizations *Organizations `mapstructure:"organizations"`
	// The accounts that shall own a copy. See [target](#target).
	Targets []Target `mapstructure:"target"`
	// The same as a list in JSON, in place of the blocks: `jsonencode(local.targets)`, where each element has the fields of a [target](#target), and `assume_role`
	// is a list of objects. One list can so serve the data source `encrypted-ami-preflight`, where `dynamic` blocks are not possible, and the post-processor.
	TargetsJSON string `mapstructure:"targets_json"`
	// Accounts, organizations and organizational units that may launch the image as it is, without a copy of their own. See [share](#share).
	Shares []Share `mapstructure:"share"`
}

// DefaultTimeout is the longest time for a run where the template says nothing.
const DefaultTimeout = 12 * time.Hour

// Where the credentials of targets' roles start from.
const (
	fromSource = "source"
	fromBase   = "base"
)

// When images are published.
const (
	publishEach = "each"
	publishAll  = "all"
)

// What becomes of unfinished work.
const (
	keepOnFailure  = "keep"
	cleanOnFailure = "clean"
)

// What becomes of attributes that cannot be carried over.
const (
	reportLosses = "report"
	refuseLosses = "strict"
)

// Prepare decodes what Packer gives, fills in the defaults and judges all that can be judged before a run: not what is still
// unknown, nor that something is missing from a list, which may only be unknown yet. All errors come together.
func (c *Config) Prepare(raws ...any) error {
	*c = Config{}
	if err := decode(c, raws); err != nil {
		return err
	}
	p := newProblems()
	c.place(p)
	c.fill()
	c.check(p)
	return p.err()
}

// blocks are decoded apart, so that Packer neither reads nor renders the templates in them.
var blocks = []string{"target", "targets_json", "share"}

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
		for _, block := range blocks {
			apart = append(apart, map[string]any{block: options[block]})
			delete(options, block)
		}
		rest = append(rest, options)
	}
	hooks := append([]mapstructure.DecodeHookFunc{unknownDuration}, config.DefaultDecodeHookFuncs...)
	err := config.Decode(
		into,
		&config.DecodeOpts{PluginType: "encrypted-ami", Interpolate: true, DecodeHooks: hooks},
		rest...)
	if err != nil {
		return err
	}
	return config.Decode(into, &config.DecodeOpts{DecodeHooks: hooks}, apart...)
}

// optionsOf is a raw value as options by name, and nil where it holds no block of ours but Packer's own data. HCL2 comes as a cty
// value, JSON templates as a map.
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
		if !slices.ContainsFunc(blocks, func(block string) bool { return raw[block] != nil }) {
			return nil, nil
		}
		return options, mapstructure.Decode(raw, &options)
	}
	return nil, nil
}

// notKnown stands for a duration that Packer does not know yet.
const notKnown = time.Duration(math.MinInt64)

// unknownDuration decodes Packer's placeholder for text as a duration.
func unknownDuration(_, to reflect.Type, value any) (any, error) {
	if text, ok := value.(string); ok && to == reflect.TypeFor[time.Duration]() && strings.Contains(text, unknown) {
		return notKnown, nil
	}
	return value, nil
}

// fill sets the defaults.
func (c *Config) fill() {
	if c.ProtectSource == config.TriUnset {
		c.ProtectSource = config.TriTrue
	}
	if c.AssumeRoleFrom == "" {
		c.AssumeRoleFrom = fromSource
	}
	if c.SourceKeyAccess == "" {
		c.SourceKeyAccess = string(distribution.ByPolicy)
	}
	if c.Publish == "" {
		c.Publish = publishEach
	}
	if c.OnFailure == "" {
		c.OnFailure = keepOnFailure
	}
	if c.Fidelity == "" {
		c.Fidelity = reportLosses
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.CopyTimeout == 0 {
		c.CopyTimeout = 6 * time.Hour
		if c.Timeout > 0 {
			c.CopyTimeout = min(c.CopyTimeout, c.Timeout)
		}
	}
	if c.PollInterval == 0 {
		c.PollInterval = 15 * time.Second
	}
}

// check judges all options.
func (c *Config) check(p *diagnostics) {
	c.Access.check(p)
	p.sharedKeys(c.KMSKeyID, c.RegionKMSKeyIDs)
	if c.AllowUnencryptedShare && c.KMSKeyID != "" {
		p.add("allow_unencrypted_share", "no effect beside kms_key_id, with which everything shared is encrypted")
	}
	switch {
	case literal(c.AssumeRoleFrom) && c.AssumeRoleFrom != fromSource && c.AssumeRoleFrom != fromBase:
		p.add("assume_role_from", "%q is neither %q nor %q", c.AssumeRoleFrom, fromSource, fromBase)
	case c.AssumeRoleFrom == fromBase && c.AssumeRole == nil:
		p.add("assume_role_from", "%q has no effect without the top-level assume_role", fromBase)
	}
	if literal(c.Fidelity) && c.Fidelity != reportLosses && c.Fidelity != refuseLosses {
		p.add("fidelity", "%q is neither %q nor %q", c.Fidelity, reportLosses, refuseLosses)
	}
	c.Organizations.check(p)
	if access := distribution.SourceKeyAccess(
		c.SourceKeyAccess,
	); literal(c.SourceKeyAccess) && access != distribution.ByPolicy &&
		access != distribution.ByGrant {
		p.add("source_key_access", "%q is neither %q nor %q", access, distribution.ByPolicy, distribution.ByGrant)
	}
	c.checkImages(p)
	c.checkFailures(p)
	c.checkFiles(p)
	c.checkTimes(p)
	chained := c.AssumeRole != nil && c.AssumeRoleFrom == fromSource
	named := map[string]string{}
	for i := range c.Targets {
		t := &c.Targets[i]
		in := p.in(t.label())
		if other, there := named[t.Name]; there && literal(t.Name) {
			in.add("name", "%s has it as well", other)
		}
		named[t.Name] = t.place
		t.check(in, chained)
	}
	c.checkPlaces(p)
	for i := range c.Shares {
		c.Shares[i].check(p.in(c.Shares[i].label(i)), chained)
	}
	c.checkRequired(p)
}

// checkImages judges the images that are named in place of a build's.
func (c *Config) checkImages(p *diagnostics) {
	for _, region := range sorted(c.SourceAMIs) {
		field, id := element("source_amis", region), c.SourceAMIs[region]
		p.region(field, region)
		if err := awslimits.Check(awslimits.ImageID, id); err != nil && !strings.Contains(id, unknown) {
			p.add(field, "%s %w", abridged(id), err)
		}
	}
	if len(c.SourceAMIs) > 0 && strings.HasPrefix(c.PackerBuilderType, "amazon-") {
		p.add("source_amis", "no effect beside the image that %s makes; it is for source \"null\"", c.PackerBuilderType)
	}
}

func (c *Config) checkFailures(p *diagnostics) {
	p.limit("release_line", awslimits.TagValue, c.ReleaseLine)
	for i := range c.Targets {
		if t := &c.Targets[i]; c.ReleaseLine == "" && (t.KeepReleases != 0 || t.KeepFor != 0) {
			p.in(t.label()).add("keep_releases", "no effect without release_line: older releases are known by it")
		}
	}
	p.oneOf("publish", c.Publish, []string{publishEach, publishAll})
	if c.Publish == publishAll && c.MaxFailedTargets > 0 {
		p.add(
			"max_failed_targets",
			"no effect beside publish = %q: without all images nothing is published, and nobody served",
			publishAll,
		)
	}
	if c.MaxFailedTargets < 0 {
		p.add("max_failed_targets", "%d is negative", c.MaxFailedTargets)
	}
	if literal(c.OnFailure) && c.OnFailure != keepOnFailure && c.OnFailure != cleanOnFailure {
		p.add("on_failure", "%q is neither %q nor %q", c.OnFailure, keepOnFailure, cleanOnFailure)
	}
	if c.VerifyOnly && (c.CleanupOnly || c.PlanOnly) {
		p.add("verify_only", "no effect beside cleanup_only or plan_only; give one of them")
	}
	if c.VerifyOnly && strings.HasPrefix(c.PackerBuilderType, "amazon-") {
		p.add(
			"verify_only",
			"no effect on the image that %s makes, which no target has yet; it is for source \"null\"",
			c.PackerBuilderType,
		)
	}
	if !c.CleanupOnly {
		return
	}
	if c.PlanOnly {
		p.add("plan_only", "no effect beside cleanup_only, which hands nothing on")
	}
	if c.MaxFailedTargets > 0 {
		p.add("max_failed_targets", "no effect beside cleanup_only, which hands nothing on")
	}
	if c.OnFailure == cleanOnFailure {
		p.add("on_failure", "%q has no effect beside cleanup_only, which hands nothing on", cleanOnFailure)
	}
}

// checkFiles judges the files that a run writes.
func (c *Config) checkFiles(p *diagnostics) {
	if c.ReportPath == "" && c.ReportDetails {
		p.add("report_details", "no effect without report_path")
	}
	if c.ReportPath == "" || strings.Contains(c.ReportPath, unknown) {
		return
	}
	if ending := filepath.Ext(c.ReportPath); !slices.Contains(reportEndings, ending) {
		p.add("report_path", "%q ends in none of %s", c.ReportPath, strings.Join(reportEndings, ", "))
	}
	if filepath.Clean(c.ReportPath) == filepath.Clean(c.ManifestPath) {
		p.add("report_path", "%q is manifest_path as well", c.ReportPath)
	}
}

// reportEndings are the media of a report.
var reportEndings = []string{".html", ".md", ".json"}

func (c *Config) checkTimes(p *diagnostics) {
	positive := func(field string, d time.Duration) {
		if d != notKnown && d <= 0 {
			p.add(field, "%s is no time to wait", d)
		}
	}
	positive("timeout", c.Timeout)
	positive("copy_timeout", c.CopyTimeout)
	if c.CopyTimeout > c.Timeout && c.Timeout > 0 {
		p.add("copy_timeout", "%s is longer than timeout, %s", c.CopyTimeout, c.Timeout)
	}
	if c.PollInterval != notKnown && (c.PollInterval < time.Second || c.PollInterval > 5*time.Minute) {
		p.add("poll_interval", "%s is not between 1s and 5m", c.PollInterval)
	}
}

// checkPlaces judges that no account and Region is named by two targets. Where a target has the artifact's Regions, this is found when it runs.
func (c *Config) checkPlaces(p *diagnostics) {
	first := map[distribution.Location]string{}
	for i := range c.Targets {
		t := &c.Targets[i]
		places := map[distribution.Location]bool{} // a target's own repetitions have been told
		for j, account := range t.AccountIDs {
			for _, region := range t.Regions {
				at := distribution.Location{Account: account, Region: region}
				if other, there := first[at]; there && literal(account) && literal(region) && !places[at] {
					p.in(t.label()).add(index("account_ids", j), "%s already serves %s in %s", other, account, region)
				}
				places[at] = true
			}
		}
		for at := range places {
			if _, there := first[at]; !there {
				first[at] = t.label()
			}
		}
	}
}

// optional is an option that may be left to the plan: nil.
func optional(option config.Trilean) *bool { return option.ToBoolPointer() }

// SourceImages are those of source_amis, sorted by Region.
func (c *Config) SourceImages() []distribution.SourceImage {
	var images []distribution.SourceImage
	for _, region := range sorted(c.SourceAMIs) {
		images = append(images, distribution.SourceImage{Region: region, ImageID: c.SourceAMIs[region]})
	}
	return images
}

// Manifest is manifest_path; "" for none, and while it is unknown.
func (c *Config) Manifest() string { return known(c.ManifestPath) }

// Report is report_path; "" for none, and while it is unknown.
func (c *Config) Report() string { return known(c.ReportPath) }

func known(path string) string {
	if strings.Contains(path, unknown) {
		return ""
	}
	return path
}

// CleansUp reports whether a run that failed removes what it leaves unfinished.
func (c *Config) CleansUp() bool { return c.OnFailure == cleanOnFailure }

// Request is what the template asks for of these images. Its errors are what only a run can tell: values that are still
// unknown, and nothing to do.
func (c *Config) Request(images []distribution.SourceImage, build distribution.Build) (distribution.Request, error) {
	p := newProblems()
	p.unknowns(c)
	if len(c.Targets)+len(c.Shares) == 0 {
		p.add(
			"target",
			"missing, and share as well; nobody is to get the image (where dynamic blocks make them, their list was empty)",
		)
	}
	for i := range c.Targets {
		t := &c.Targets[i]
		if len(t.AccountIDs)+len(t.OrganizationalUnitIDs) == 0 {
			p.in(t.label()).add("account_ids", "empty, as organizational_unit_ids is; no account is to get a copy")
		}
		if len(t.ExcludeAccountIDs) > 0 && len(t.OrganizationalUnitIDs) == 0 {
			p.in(t.label()).add("exclude_account_ids", "no effect without organizational_unit_ids")
		}
	}
	for i := range c.Shares {
		if s := &c.Shares[i]; s.nobody() {
			p.in(s.label(i)).
				add("account_ids", "empty, as organization_arns and organizational_unit_arns are; nobody is to launch the image")
		}
		if s := &c.Shares[i]; len(s.Grants) > 0 && len(s.AccountIDs) == 0 {
			p.in(s.label(i)).add("grant", "no effect without account_ids: it is an account that makes the grants")
		}
	}
	request := distribution.Request{
		Images:                slices.Clone(images),
		KMSKeyID:              c.KMSKeyID,
		RegionKMSKeyIDs:       c.RegionKMSKeyIDs,
		AllowUnencryptedShare: c.AllowUnencryptedShare,
		Canary:                optional(c.Canary),
		SourceKeyAccess:       distribution.SourceKeyAccess(c.SourceKeyAccess),
		ProtectSource:         c.ProtectSource.True(),
		MaxFailedTargets:      c.MaxFailedTargets,
		PublishAll:            c.Publish == publishAll,
		ReleaseLine:           c.ReleaseLine,
		OrganizationRoles:     c.Organizations.roles(),
		AssumeRoleFrom:        c.AssumeRoleFrom,
		Strict:                c.Fidelity == refuseLosses,
		Timeout:               c.Timeout,
		CopyTimeout:           c.CopyTimeout,
		PollInterval:          c.PollInterval,
		Build:                 build,
	}
	for i := range c.Targets {
		request.Targets = append(request.Targets, c.Targets[i].target())
	}
	for i := range c.Shares {
		request.Shares = append(request.Shares, c.Shares[i].share(i))
	}
	return request, p.err()
}
