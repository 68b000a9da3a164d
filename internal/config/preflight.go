// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type Preflight,AmazonEBS,SourceAMIFilter,LaunchVolume
//go:generate packer-sdc struct-markdown

package config

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Preflight is the block of the data source in a template: the options of the post-processor, and those of amazon-ebs.
type Preflight struct {
	Config `mapstructure:",squash"`

	// The options of the `amazon-ebs` builder, with its names. See [amazon_ebs](#amazon_ebs).
	AmazonEBS AmazonEBS `mapstructure:"amazon_ebs" required:"true"`
	// The findings that make the data source fail, so that Packer stops before the build: `error`, `warning` (also
	// errors), or `never`. Default: `error`.
	FailOn string `mapstructure:"fail_on"`
}

// AmazonEBS holds the options of a block `amazon_ebs`.
type AmazonEBS struct {
	// The Region of the build.
	Region string `mapstructure:"region" required:"true"`
	// The name of the AMI. Without it, the data source cannot check whether a target already has an AMI of that name.
	AMIName string `mapstructure:"ami_name"`
	// The AMI that the build starts from. One of `source_ami` and `source_ami_filter` is required.
	SourceAMI string `mapstructure:"source_ami"`
	// Finds the AMI that the build starts from. See [source_ami_filter](#source_ami_filter).
	SourceAMIFilter *SourceAMIFilter `mapstructure:"source_ami_filter"`
	// Whether the builder makes an encrypted copy of the AMI. Default: not set.
	EncryptBoot config.Trilean `mapstructure:"encrypt_boot"`
	// The key of that copy: the builder's `kms_key_id`, not the post-processor's.
	KMSKeyID string `mapstructure:"kms_key_id"`
	// The keys of the copies in other Regions.
	RegionKMSKeyIDs map[string]string `mapstructure:"region_kms_key_ids"`
	// Other Regions that the builder copies the AMI to.
	AMIRegions []string `mapstructure:"ami_regions"`
	// The volumes of the instance, if they differ from the source AMI's. See
	// [launch_block_device_mappings](#launch_block_device_mappings).
	LaunchVolumes []LaunchVolume `mapstructure:"launch_block_device_mappings"`
}

// SourceAMIFilter holds the options of a block `source_ami_filter`.
type SourceAMIFilter struct {
	// Filters of `ec2:DescribeImages`: `{ name = "base-*" }`.
	Filters map[string]string `mapstructure:"filters"`
	// The owners: account IDs, `self`, `amazon`.
	Owners []string `mapstructure:"owners" required:"true"`
	// `true` uses the newest of several AMIs. Default: `false`; then exactly one must match.
	MostRecent bool `mapstructure:"most_recent"`
	// `true` includes deprecated AMIs. Default: `false`.
	IncludeDeprecated bool `mapstructure:"include_deprecated"`
}

// LaunchVolume holds the options of a block `launch_block_device_mappings`.
type LaunchVolume struct {
	// The device, such as `/dev/xvda`.
	DeviceName string `mapstructure:"device_name" required:"true"`
	// Whether the volume is encrypted. Default: not set.
	Encrypted config.Trilean `mapstructure:"encrypted"`
	// The key of the volume.
	KMSKeyID string `mapstructure:"kms_key_id"`
	// The snapshot that the volume starts from.
	SnapshotID string `mapstructure:"snapshot_id"`
	// The size in GiB. Default: that of the snapshot.
	VolumeSize int64 `mapstructure:"volume_size"`
	// `true` omits the source AMI's volume of this device.
	NoDevice bool `mapstructure:"no_device"`
	// No effect.
	VolumeType string `mapstructure:"volume_type"`
	// No effect.
	IOPS int64 `mapstructure:"iops"`
	// No effect.
	Throughput int64 `mapstructure:"throughput"`
	// No effect.
	DeleteOnTermination bool `mapstructure:"delete_on_termination"`
	// No effect.
	VirtualName string `mapstructure:"virtual_name"`
}

// DefaultPreflightTimeout is the timeout of a preflight if the template sets none.
const DefaultPreflightTimeout = 2 * time.Minute

// Values of fail_on.
const (
	failOnError   = "error"
	failOnWarning = "warning"
	failNever     = "never"
)

// onlyForRuns are options without an effect on a preflight, which creates nothing.
var onlyForRuns = []string{
	"existing_amis",
	"mode",
	"allow_older_release",
	"only_targets",
	"source_retention",
	"on_failure",
	"output_directory",
	"hcp_packer",
	"poll_interval",
	"resume",
}

// Prepare decodes and validates the options, like Prepare of Config.
func (f *Preflight) Prepare(raws ...any) error {
	*f = Preflight{}
	if err := decode(f, raws); err != nil {
		return err
	}
	p := newProblems()
	f.readTargetsJSON(p)
	f.checkIdle(p)
	f.Timeout, f.FailOn = cmp.Or(f.Timeout, DefaultPreflightTimeout), cmp.Or(f.FailOn, failOnError)
	f.fill()
	f.check(p)
	f.checkAmazonEBS(p.in("amazon_ebs"))
	p.oneOf("fail_on", f.FailOn, failOnError, failOnWarning, failNever)
	return p.err()
}

// checkIdle reports options that have no effect on a preflight.
func (f *Preflight) checkIdle(p *diagnostics) {
	fields := reflect.ValueOf(&f.Config).Elem()
	for _, field := range reflect.VisibleFields(fields.Type()) {
		if name := optionOf(field); slices.Contains(onlyForRuns, name) && !fields.FieldByIndex(field.Index).IsZero() {
			p.add(name, "no effect in a preflight, which creates nothing; leave it out")
		}
	}
}

// checkAmazonEBS checks the options of the builder.
func (f *Preflight) checkAmazonEBS(p *diagnostics) {
	b := &f.AmazonEBS
	b.checkSource(p)
	if b.Region == "" {
		p.add("region", "missing; give the Region that amazon-ebs builds in")
	}
	p.region("region", b.Region)
	p.limit("ami_name", awslimits.ImageName, b.AMIName)
	for i, region := range b.AMIRegions {
		p.region(index("ami_regions", i), region)
	}
	p.key("kms_key_id", b.KMSKeyID)
	for _, region := range sorted(b.RegionKMSKeyIDs) {
		field := element("region_kms_key_ids", region)
		p.region(field, region)
		p.keyIn(field, p.key(field, b.RegionKMSKeyIDs[region]), region)
		if len(b.AMIRegions) > 0 && region != b.Region && !slices.Contains(b.AMIRegions, region) {
			p.add(field, "amazon-ebs refuses a Region that is not in ami_regions; add it there")
		}
	}
	for i, v := range b.LaunchVolumes {
		in := p.in(index("launch_block_device_mappings", i))
		if v.DeviceName == "" {
			in.add("device_name", "missing; give a device such as \"/dev/xvda\"")
		}
		in.key("kms_key_id", v.KMSKeyID)
	}
}

// checkSource checks the options that select the base AMI.
func (b *AmazonEBS) checkSource(p *diagnostics) {
	p.limit("source_ami", awslimits.ImageID, b.SourceAMI)
	switch filter := b.SourceAMIFilter; {
	case b.SourceAMI == "" && filter == nil:
		p.add("source_ami", "missing, and source_ami_filter as well; give one of them")
	case b.SourceAMI != "" && filter != nil:
		p.add("source_ami_filter", "no effect beside source_ami; give one of them")
	case filter != nil && len(filter.Owners) == 0:
		p.in("source_ami_filter").add("owners", "missing; give account IDs, \"self\" or \"amazon\"")
	}
	if b.SourceAMIFilter != nil {
		p.in("source_ami_filter").filters(b.SourceAMIFilter.Filters)
	}
}

// Credentials returns the source credentials, with the Region of the builder.
func (f *Preflight) Credentials() awsclient.Access {
	access := f.Config.Credentials()
	access.Region = f.AmazonEBS.Region
	return access
}

// Request returns the request for the images that the build will create.
func (f *Preflight) Request() (distribution.Request, error) {
	b := &f.AmazonEBS
	p := newProblems()
	p.unknownsIn("amazon_ebs", reflect.ValueOf(b))
	regions := append([]string{b.Region}, b.AMIRegions...)
	slices.Sort(regions)
	var images []distribution.SourceImage
	for _, region := range slices.Compact(regions) {
		images = append(images, distribution.SourceImage{Region: region, ImageID: distribution.Unbuilt})
	}
	request, err := f.Config.Request(images, distribution.Build{Region: b.Region, BaseAMI: b.SourceAMI})
	if err != nil {
		p.take(err)
	}
	request.Intent = &distribution.BuildConfig{
		BaseAMI:         b.SourceAMI,
		AMIName:         b.AMIName,
		EncryptBoot:     b.EncryptBoot.ToBoolPointer(),
		KMSKeyID:        b.KMSKeyID,
		RegionKMSKeyIDs: b.RegionKMSKeyIDs,
	}
	if filter := b.SourceAMIFilter; filter != nil {
		request.Intent.Filter = distribution.BaseFilter{
			Filters:           filter.Filters,
			Owners:            slices.Sorted(slices.Values(filter.Owners)),
			MostRecent:        filter.MostRecent,
			IncludeDeprecated: filter.IncludeDeprecated,
		}
	}
	for _, v := range b.LaunchVolumes {
		request.Intent.Launch = append(request.Intent.Launch, distribution.LaunchVolume{
			Device: v.DeviceName, Encrypted: v.Encrypted.ToBoolPointer(), KMSKeyID: v.KMSKeyID,
			SnapshotID: v.SnapshotID, GiB: v.VolumeSize, NoDevice: v.NoDevice,
		})
	}
	return request, p.err()
}

// Fails reports whether findings of a level make the data source fail.
func (f *Preflight) Fails(level distribution.Level) bool {
	switch f.FailOn {
	case failNever:
		return false
	case failOnWarning:
		return level == distribution.Refused || level == distribution.Warning
	}
	return level == distribution.Refused
}

// TargetsAsJSON returns the targets with their defaults filled in, as targets_json takes them. Organizational units are
// replaced by their accounts, which are those of found, by the name of the target.
func (f *Preflight) TargetsAsJSON(request distribution.Request, found map[string][]string) (string, error) {
	var regions []string
	for _, image := range request.Images {
		regions = append(regions, image.Region)
	}
	list := []any{}
	for _, t := range f.Targets {
		t.Name = cmp.Or(t.Name, t.path)
		t.CopyMethod = cmp.Or(t.CopyMethod, string(distribution.Auto))
		if t.Required == config.TriUnset {
			t.Required = config.TriTrue
		}
		if len(t.Regions) == 0 {
			t.Regions = regions
		}
		if len(t.OrganizationalUnitIDs) > 0 {
			t.AccountIDs, t.OrganizationalUnitIDs, t.ExcludeAccountIDs = found[t.Name], nil, nil
		}
		if len(t.AccountIDs) == 0 { // its units have no account: the plan warns
			continue
		}
		list = append(list, options(reflect.ValueOf(t)))
	}
	text, err := json.Marshal(list)
	return string(text), err
}

// options converts a value back to the form of a template: structs by the names of their options, without options that
// are not set.
func options(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Pointer:
		return options(value.Elem())
	case reflect.Struct:
		fields := map[string]any{}
		for i := range value.NumField() {
			if name := optionOf(value.Type().Field(i)); name != "" && !value.Field(i).IsZero() {
				fields[name] = options(value.Field(i))
			}
		}
		return fields
	case reflect.Slice:
		list := []any{}
		for i := range value.Len() {
			list = append(list, options(value.Index(i)))
		}
		return list
	}
	switch given := value.Interface().(type) {
	case config.Trilean:
		return given.True()
	case time.Duration:
		return given.String()
	default:
		return given
	}
}
