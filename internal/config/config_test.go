// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/zclconf/go-cty/cty"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// images are the images of an artifact.
var images = []distribution.SourceImage{{Region: "ap-northeast-1", ImageID: "ami-0123456789abcdef0"}}

const prod = `
	target {
		account_ids = ["999999999999"]
		assume_role { role_name = "golden-image-target" }
		kms_key_id  = "alias/golden-target"
	}`

// Each file in testdata/bad is the body of a block with mistakes. All mistakes are reported at once, each with its
// field and target.
func TestConfig_everyMistakeNamesItsField(t *testing.T) {
	bodies, _ := filepath.Glob("testdata/bad/*.hcl")
	if len(bodies) == 0 {
		t.Fatal("no bodies")
	}
	for _, path := range bodies {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".hcl"), func(t *testing.T) {
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = prepare(t, string(body), nil)
			if err == nil {
				t.Fatal("accepted")
			}
			golden.Equal(t, strings.TrimSuffix(path, ".hcl")+".golden", err.Error()+"\n")
			if strings.Contains(err.Error(), "hush") {
				t.Error("a secret is shown")
			}
		})
	}
}

func TestConfig_defaults(t *testing.T) {
	c, err := prepare(t, prod, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Request(images, distribution.Build{Name: "golden"})
	if err != nil {
		t.Fatal(err)
	}
	want := distribution.Request{
		Images:          images,
		SourceKeyAccess: distribution.ByPolicy,
		AssumeRoleFrom:  "source",
		Timeout:         12 * time.Hour,
		PollInterval:    15 * time.Second,
		Functions: distribution.TemplateFunctions{
			UserVariables: map[string]string{},
			BuildName:     "golden",
			Getenv:        os.Getenv,
		},
		Build: distribution.Build{Name: "golden"},
		Targets: []distribution.Target{{
			Name:       "target[0]",
			AccountIDs: []string{"999999999999"},
			Roles:      []distribution.Role{{RoleName: "golden-image-target"}},
			KMSKeyID:   "alias/golden-target",
			Method:     distribution.Auto,
		}},
	}
	if diff := cmp.Diff(want, got, sameFunctions); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff(awsclient.Access{}, c.Credentials()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if c.CleansUp() || c.Mode != config.ModeDistribute || len(c.SourceImages()) > 0 {
		t.Errorf("got %+v", c)
	}
}

// sameFunctions takes functions for equal if both or none of them are nil: functions cannot be compared in Go.
var sameFunctions = cmp.Comparer(func(a, b func(string) string) bool { return (a == nil) == (b == nil) })

// run is everything that a template passes to a run.
type run struct {
	distribution.Request
	awsclient.Access
	config *config.Config
}

func (r run) directory() string {
	directory, err := r.config.RenderOutputDirectory(images, r.Build)
	if err != nil {
		return err.Error()
	}
	return directory
}

func (r run) target() distribution.Target { return r.Targets[0] }
func (r run) role() distribution.Role     { return r.Access.AssumeRole[0] }

func (r run) parameter() distribution.Parameter { return r.target().Parameters[0] }

const role = "role_arn = \"arn:aws:iam::111111111111:role/builder\"\n"

// target returns a configuration with a line in its target block.
func target(line string) string { return strings.Replace(prod, "target {", "target {\n"+line, 1) }

func share(line string) string {
	return "share {\naccount_ids = [\"888888888888\", \"777777777777\"]\n" + line + "\n}"
}
func assumeRole(line string) string { return prod + "\nassume_role {\n" + role + line + "\n}" }

func launchCheck(line string) string {
	return target("launch_check {\ninstance_type = \"t3.micro\"\n" + line + "\n}\n")
}

// template returns a configuration with a line in its launch_template block.
func template(line string) string {
	return target("launch_template {\nname = \"web\"\n" + line + "\n}")
}

func sharedParameter(line string) string {
	return share("ssm_parameter {\nname = \"/golden/ami\"\n" + line + "\n}")
}

func parameter(line string) string {
	return target("ssm_parameter {\nname = \"/golden/ami\"\n" + line + "\n}")
}

var options = []struct {
	option, body string
	got          func(run) any
	want         any
}{
	{"profile", prod + "\nprofile = \"golden\"", func(r run) any { return r.Access.Profile }, "golden"},
	{"access_key", prod + "\naccess_key = \"AKIA\"\nsecret_key = \"s\"", func(r run) any { return r.AccessKey }, "AKIA"},
	{
		"secret_key",
		prod + "\naccess_key = \"AKIA\"\nsecret_key = \"s\"",
		func(r run) any { return r.SecretKey },
		distribution.Secret("s"),
	},
	{
		"token",
		prod + "\naccess_key = \"AKIA\"\nsecret_key = \"s\"\ntoken = \"t\"",
		func(r run) any { return r.Token },
		distribution.Secret("t"),
	},
	{
		"shared_credentials_file",
		prod + "\nshared_credentials_file = \"/dev/null\"",
		func(r run) any { return r.SharedCredentialsFile },
		"/dev/null",
	},
	{
		"assume_role.role_name",
		prod,
		func(r run) any { return r.target().Roles },
		[]distribution.Role{{RoleName: "golden-image-target"}},
	},
	{
		"assume_role.role_arn",
		assumeRole(""),
		func(r run) any { return r.role().RoleARN },
		distribution.Text("arn:aws:iam::111111111111:role/builder"),
	},
	{
		"assume_role.session_name",
		assumeRole(`session_name = "golden"`),
		func(r run) any { return r.role().SessionName },
		distribution.Text("golden"),
	},
	{
		"assume_role.external_id",
		assumeRole(`external_id = "x-1"`),
		func(r run) any { return r.role().ExternalID },
		distribution.Secret("x-1"),
	},
	{
		"assume_role.duration_seconds",
		assumeRole(`duration_seconds = 7200`),
		func(r run) any { return r.role().Duration },
		2 * time.Hour,
	},
	{"assume_role.policy", assumeRole(`policy = "{}"`), func(r run) any { return r.role().Policy }, "{}"},
	{
		"assume_role.policy_arns",
		assumeRole(`policy_arns = ["arn:aws:iam::aws:policy/B", "arn:aws:iam::aws:policy/A"]`),
		func(r run) any { return r.role().PolicyARNs },
		[]string{"arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"},
	},
	{
		"assume_role.tags",
		assumeRole(`tags = { team = "os" }`),
		func(r run) any { return r.role().Tags },
		map[string]string{"team": "os"},
	},
	{
		"assume_role.transitive_tag_keys",
		assumeRole("tags = { team = \"os\" }\ntransitive_tag_keys = [\"team\"]"),
		func(r run) any { return r.role().TransitiveTagKeys },
		[]string{"team"},
	},
	{
		"assume_role.source_identity",
		assumeRole(`source_identity = "ci"`),
		func(r run) any { return r.role().SourceIdentity },
		distribution.Text("ci"),
	},

	{"kms_key_id", prod + "\nkms_key_id = \"alias/golden\"", func(r run) any { return r.KMSKeyID }, "alias/golden"},
	{
		"region_kms_key_ids",
		prod + "\nregion_kms_key_ids = { eu-west-1 = \"alias/golden\" }",
		func(r run) any { return r.RegionKMSKeyIDs },
		map[string]string{"eu-west-1": "alias/golden"},
	},
	{
		"allow_unencrypted_share",
		prod + "\nallow_unencrypted_share = true",
		func(r run) any { return r.AllowUnencryptedShare },
		true,
	},
	{"test_copy", prod + "\ntest_copy = false", func(r run) any { return *r.TestCopy }, false},
	{
		"source_key_access",
		prod + "\nsource_key_access = \"grant\"",
		func(r run) any { return r.SourceKeyAccess },
		distribution.ByGrant,
	},
	{
		"existing_amis",
		prod + "\nexisting_amis = { us-east-1 = \"ami-01234567\", eu-west-1 = \"ami-0123456789abcdef0\" }",
		func(r run) any { return r.config.SourceImages() },
		[]distribution.SourceImage{
			{Region: "eu-west-1", ImageID: "ami-0123456789abcdef0"},
			{Region: "us-east-1", ImageID: "ami-01234567"},
		},
	},
	{"optimize_for", prod + "\noptimize_for = \"time\"", func(r run) any { return r.OptimizeForTime }, true},
	{"on_attribute_loss", prod + "\non_attribute_loss = \"fail\"", func(r run) any { return r.Strict }, true},
	{
		"max_failed_destinations",
		prod + "\nmax_failed_destinations = 3",
		func(r run) any { return r.MaxFailedDestinations },
		3,
	},
	{"publish", parameter("") + "\npublish = \"all\"", func(r run) any { return r.PublishAll }, true},
	{
		"allow_older_release",
		parameter("") + "\nmode = \"promote\"\nallow_older_release = true",
		func(r run) any { return r.AllowOlderRelease },
		true,
	},
	{
		"only_targets",
		parameter("") + "\nmode = \"rollback\"\nonly_targets = [\"none\"]",
		func(r run) any { return len(r.Targets) },
		0,
	},
	{
		"source_retention.keep_releases",
		prod + "\nimage_family = \"web\"\nsource_retention {\n  keep_releases = 3\n}",
		func(r run) any { return r.SourceRetention },
		distribution.Retention{Releases: 3},
	},
	{
		"source_retention.keep_for",
		prod + "\nimage_family = \"web\"\nsource_retention {\n  keep_for = \"2160h\"\n}",
		func(r run) any { return r.SourceRetention },
		distribution.Retention{For: 2160 * time.Hour},
	},
	{
		"source_retention.dry_run",
		prod + "\nimage_family = \"web\"\nsource_retention {\n  keep_releases = 1\n  dry_run = true\n}",
		func(r run) any { return r.SourceRetention },
		distribution.Retention{Releases: 1, DryRun: true},
	},
	{"image_family", prod + "\nimage_family = \"web\"", func(r run) any { return r.ImageFamily }, "web"},
	{"resume.run_id", prod + resumed(`run_id = "run-1"`), func(r run) any { return r.config.ResumedRun() }, "run-1"},
	{
		"resume.source_account_id",
		prod + resumed(`source_account_id = "111111111111"`),
		func(r run) any { return r.config.Resume.SourceAccountID },
		"111111111111",
	},
	{
		"resume.source_ami",
		prod + resumed(`source_ami = "ami-01234567"`),
		func(r run) any { return r.config.ResumedBuild(r.Build).BaseAMI },
		"ami-01234567",
	},
	{
		"resume.build_name",
		prod + resumed(`build_name = "golden"`),
		func(r run) any { return r.config.ResumedBuild(r.Build).Name },
		"golden",
	},
	{"hcp_packer", prod + "\nhcp_packer = true", func(r run) any { return r.config.HCPPacker }, true},
	{"mode", prod + "\nmode = \"plan\"", func(r run) any { return r.config.Mode }, config.ModePlan},
	{
		"output_directory",
		prod + "\noutput_directory = \"{{ build_name }}/{{ .AMI }}\"",
		func(r run) any { return r.directory() },
		"golden/ami-0123456789abcdef0",
	},
	{
		"run_tags",
		prod + "\nrun_tags = { purpose = \"distribution of {{ .AMI }}\" }",
		func(r run) any { return r.RunTags },
		map[string]distribution.Text{"purpose": "distribution of {{ .AMI }}"},
	},
	{
		"organizations_role",
		prod + "\norganizations_role {\n" + role + "}",
		func(r run) any { return r.OrganizationRoles },
		[]distribution.Role{{RoleARN: "arn:aws:iam::111111111111:role/builder"}},
	},
	{"on_failure", prod + "\non_failure = \"cleanup\"", func(r run) any { return r.config.CleansUp() }, true},
	{
		"assume_role_from",
		assumeRole("") + "\nassume_role_from = \"base\"",
		func(r run) any { return r.AssumeRoleFrom },
		"base",
	},
	{"timeout", prod + "\ntimeout = \"90m\"", func(r run) any { return r.Timeout }, 90 * time.Minute},
	{"poll_interval", prod + "\npoll_interval = \"1s\"", func(r run) any { return r.PollInterval }, time.Second},

	{
		"targets_json",
		"targets_json = \"[{\\\"account_ids\\\": [\\\"999999999999\\\"], \\\"kms_key_id\\\": \\\"default\\\"}]\"",
		func(r run) any { return r.target() },
		distribution.Target{
			Name:       "targets_json[0]",
			AccountIDs: []string{"999999999999"},
			KMSKeyID:   "default",
			Method:     distribution.Auto,
		},
	},
	{"target.name", target(`name = "prod"`), func(r run) any { return r.target().Name }, "prod"},
	{"target.account_ids", prod, func(r run) any { return r.target().AccountIDs }, []string{"999999999999"}},
	{
		"target.organizational_unit_ids",
		target(`organizational_unit_ids = ["r-ab12", "ou-ab12-cdef3456"]`),
		func(r run) any { return r.target().Units },
		[]string{"ou-ab12-cdef3456", "r-ab12"},
	},
	{
		"target.exclude_account_ids",
		target("organizational_unit_ids = [\"r-ab12\"]\nexclude_account_ids = [\"888888888888\"]"),
		func(r run) any { return r.target().ExcludedIDs },
		[]string{"888888888888"},
	},
	{
		"target.on_missing_role",
		target(`on_missing_role = "skip"`),
		func(r run) any { return r.target().SkipMissingRole },
		true,
	},
	{
		"target.regions",
		target(`regions = ["us-east-1", "eu-west-1"]`),
		func(r run) any { return r.target().Regions },
		[]string{"eu-west-1", "us-east-1"},
	},
	{"target.required", target(`required = false`), func(r run) any { return r.target().Optional }, true},
	{
		"target.copy_method",
		target(`copy_method = "image"`),
		func(r run) any { return r.target().Method },
		distribution.ByImage,
	},
	{
		"target.snapshot_copy_duration_minutes",
		target(`snapshot_copy_duration_minutes = 30`),
		func(r run) any { return r.target().CopyMinutes },
		30,
	},
	{
		"target.volume_initialization_rate",
		target(`volume_initialization_rate = 200`),
		func(r run) any { return r.target().VolumeRate },
		200,
	},
	{
		"watermarks",
		prod + "\n" + `watermarks = ["golden", "base"]`,
		func(r run) any { return r.Watermarks },
		[]string{"base", "golden"},
	},
	{
		"target.watermarks",
		target(`watermarks = ["golden", "base"]`),
		func(r run) any { return r.target().Watermarks },
		[]string{"base", "golden"},
	},
	{
		"target.retention.disable_releases",
		target("retention {\nkeep_releases = 3\ndisable_releases = 2\n}") + "\nimage_family = \"web\"",
		func(r run) any { return r.target().Retention.Disabled },
		2,
	},
	{
		"source_retention.disable_releases",
		prod + "\nsource_retention {\nkeep_releases = 3\ndisable_releases = 2\n}\nimage_family = \"web\"",
		func(r run) any { return r.SourceRetention.Disabled },
		2,
	},
	{
		"target.deprecate_at",
		target(`deprecate_at = "2027-06-30T00:00:00Z"`),
		func(r run) any { return r.target().DeprecateAt },
		distribution.Text("2027-06-30T00:00:00Z"),
	},
	{
		"target.license_configuration_arns",
		target(`license_configuration_arns = [
			"arn:aws:license-manager:ap-northeast-1:999999999999:license-configuration:lic-0123456789abcdef0"
		]`),
		func(r run) any { return r.target().Licenses },
		[]distribution.Text{
			"arn:aws:license-manager:ap-northeast-1:999999999999:license-configuration:lic-0123456789abcdef0",
		},
	},
	{
		"target.fast_launch.enable_fast_launch",
		target("fast_launch {\nenable_fast_launch = false\n}"),
		func(r run) any { return r.target().Lifecycle.FastLaunch },
		(*distribution.FastLaunch)(nil),
	},
	{
		"target.fast_launch.template_id",
		target("fast_launch {\ntemplate_id = \"lt-0123456789abcdef0\"\ntemplate_version = 3\n}"),
		func(r run) any { return r.target().Lifecycle.FastLaunch.TemplateID },
		"lt-0123456789abcdef0",
	},
	{
		"target.fast_launch.template_name",
		target("fast_launch {\ntemplate_name = \"windows\"\ntemplate_version = 3\n}"),
		func(r run) any { return r.target().Lifecycle.FastLaunch.TemplateName },
		"windows",
	},
	{
		"target.fast_launch.template_version",
		target("fast_launch {\ntemplate_name = \"windows\"\ntemplate_version = 3\n}"),
		func(r run) any { return r.target().Lifecycle.FastLaunch.TemplateVersion },
		3,
	},
	{
		"target.fast_launch.max_parallel_launches",
		target("fast_launch {\nmax_parallel_launches = 6\n}"),
		func(r run) any { return r.target().Lifecycle.FastLaunch.MaxParallelLaunches },
		6,
	},
	{
		"target.fast_launch.target_resource_count",
		target("fast_launch {\ntarget_resource_count = 10\n}"),
		func(r run) any { return r.target().Lifecycle.FastLaunch.TargetResourceCount },
		10,
	},
	{
		"target.force_deregister",
		target("ami_name = \"golden\"\nforce_deregister = true"),
		func(r run) any { return r.target().Lifecycle.ForceDeregister },
		true,
	},
	{
		"target.force_delete_snapshot",
		target("ami_name = \"golden\"\nforce_deregister = true\nforce_delete_snapshot = true"),
		func(r run) any { return r.target().Lifecycle.ForceDeleteSnapshot },
		true,
	},
	{
		"target.deregistration_protection.enabled",
		target("deregistration_protection {\nenabled = false\n}"),
		func(r run) any { return r.target().Lifecycle.Protection },
		(*distribution.Protection)(nil),
	},
	{
		"target.deregistration_protection.with_cooldown",
		target("deregistration_protection {\nwith_cooldown = true\n}"),
		func(r run) any { return r.target().Lifecycle.Protection },
		&distribution.Protection{Cooldown: true},
	},
	{
		"target.retention.keep_releases",
		target("retention {\nkeep_releases = 3\n}") + "\nimage_family = \"web\"",
		func(r run) any { return r.target().Retention },
		distribution.Retention{Releases: 3},
	},
	{
		"target.retention.keep_for",
		target("retention {\nkeep_for = \"2160h\"\n}") + "\nimage_family = \"web\"",
		func(r run) any { return r.target().Retention },
		distribution.Retention{For: 2160 * time.Hour},
	},
	{
		"target.retention.dry_run",
		target("retention {\nkeep_releases = 1\ndry_run = true\n}") + "\nimage_family = \"web\"",
		func(r run) any { return r.target().Retention },
		distribution.Retention{Releases: 1, DryRun: true},
	},
	{
		"target.ami_users",
		target(`ami_users = ["888888888888", "777777777777"]`),
		func(r run) any { return r.target().Lifecycle.Users.Accounts },
		[]string{"777777777777", "888888888888"},
	},
	{
		"target.ami_org_arns",
		target(`ami_org_arns = ["arn:aws:organizations::111111111111:organization/o-1234567890"]`),
		func(r run) any { return r.target().Lifecycle.Users.Organizations },
		[]string{"arn:aws:organizations::111111111111:organization/o-1234567890"},
	},
	{
		"target.ami_ou_arns",
		target(`ami_ou_arns = ["arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"]`),
		func(r run) any { return r.target().Lifecycle.Users.Units },
		[]string{"arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"},
	},
	{
		"target.assume_role",
		strings.Replace(
			prod,
			`assume_role { role_name = "golden-image-target" }`,
			"assume_role {\n"+role+"}\nassume_role {\nrole_arn = \"arn:aws:iam::{{ .AccountId }}:role/t\"\n}",
			1,
		),
		func(r run) any { return r.target().Roles },
		[]distribution.Role{
			{RoleARN: "arn:aws:iam::111111111111:role/builder"},
			{RoleARN: "arn:aws:iam::{{ .AccountId }}:role/t"},
		},
	},
	{
		"target.profile",
		strings.Replace(prod, `assume_role { role_name = "golden-image-target" }`, `profile = "golden-image-target"`, 1),
		func(r run) any { return r.target().Profile },
		"golden-image-target",
	},
	{"target.kms_key_id", prod, func(r run) any { return r.target().KMSKeyID }, distribution.Text("alias/golden-target")},
	{
		"target.region_kms_key_ids",
		target(`region_kms_key_ids = { eu-west-1 = "default" }`),
		func(r run) any { return r.target().RegionKMSKeyIDs },
		map[string]distribution.Text{"eu-west-1": "default"},
	},
	{
		"target.ami_name",
		target("ami_name = \"golden {{ isotime `2006-01-02` }}\""),
		func(r run) any { return r.target().AMIName },
		distribution.Text("golden {{ isotime `2006-01-02` }}"),
	},
	{
		"target.ami_description",
		target(`ami_description = "of {{ .AMI }}"`),
		func(r run) any { return r.target().AMIDescription },
		distribution.Text("of {{ .AMI }}"),
	},
	{
		"target.tags",
		target(`tags = { from = "{{ .AMI }}" }`),
		func(r run) any { return r.target().Tags },
		map[string]distribution.Text{"from": "{{ .AMI }}"},
	},
	{
		"target.launch_check.subnet_filter.filters",
		launchCheck("subnet_filter {\nfilters = { \"tag:Tier\" = \"private\" }\n}"),
		func(r run) any { return r.target().LaunchCheck.SubnetFilters },
		map[string]string{"tag:Tier": "private"},
	},
	{
		"target.ssm_parameter.name",
		target(`ssm_parameter { name = "/golden/{{ .Region }}" }`),
		func(r run) any { return r.target().Parameters },
		[]distribution.Parameter{{Name: "/golden/{{ .Region }}", Type: "String", DataType: "aws:ec2:image", Overwrite: true}},
	},
	{
		"target.ssm_parameter.type",
		parameter(`type = "SecureString"`),
		func(r run) any { return []string{r.parameter().Type, r.parameter().DataType} },
		[]string{"SecureString", "text"},
	},
	{
		"target.ssm_parameter.data_type",
		parameter(`data_type = "text"`),
		func(r run) any { return r.parameter().DataType },
		"text",
	},
	{
		"target.ssm_parameter.key_id",
		parameter("type = \"SecureString\"\nkey_id = \"alias/{{ .Region }}\""),
		func(r run) any { return r.parameter().KeyID },
		distribution.Text("alias/{{ .Region }}"),
	},
	{
		"target.ssm_parameter.tier",
		parameter(`tier = "Advanced"`),
		func(r run) any { return r.parameter().Tier },
		"Advanced",
	},
	{
		"target.ssm_parameter.description",
		parameter("description = \"of {{ isotime `2006-01-02` }}\""),
		func(r run) any { return r.parameter().Description },
		distribution.Text("of {{ isotime `2006-01-02` }}"),
	},
	{
		"target.ssm_parameter.tags",
		parameter(`tags = { from = "{{ .AMI }}" }`),
		func(r run) any { return r.parameter().Tags },
		map[string]distribution.Text{"from": "{{ .AMI }}"},
	},
	{
		"target.ssm_parameter.overwrite",
		parameter(`overwrite = false`),
		func(r run) any { return r.parameter().Overwrite },
		false,
	},
	{
		"target.launch_template.name",
		target(`launch_template { name = "web-{{ .Region }}" }`),
		func(r run) any { return r.target().Templates },
		[]distribution.LaunchTemplate{{Template: "web-{{ .Region }}", Source: "$Default"}},
	},
	{
		"target.launch_template.source_version",
		template(`source_version = "7"`),
		func(r run) any { return r.target().Templates[0].Source },
		"7",
	},
	{
		"target.launch_template.description",
		template("description = \"of {{ isotime `2006-01-02` }}\""),
		func(r run) any { return r.target().Templates[0].Description },
		distribution.Text("of {{ isotime `2006-01-02` }}"),
	},
	{
		"target.launch_template.set_default_version",
		template(`set_default_version = true`),
		func(r run) any { return r.target().Templates[0].SetDefault },
		true,
	},
	{
		"target.snapshot_tags",
		target(`snapshot_tags = { from = "{{ .AMI }}" }`),
		func(r run) any { return r.target().SnapshotTags },
		map[string]distribution.Text{"from": "{{ .AMI }}"},
	},

	{"share.name", share(`name = "ours"`), func(r run) any { return r.Shares[0].Name }, "ours"},
	{
		"share.account_ids",
		share(""),
		func(r run) any { return r.Shares[0].AccountIDs },
		[]string{"777777777777", "888888888888"},
	},
	{
		"share.organization_arns",
		share(`organization_arns = ["arn:aws:organizations::111111111111:organization/o-1234567890"]`),
		func(r run) any { return r.Shares[0].OrganizationARNs },
		[]string{"arn:aws:organizations::111111111111:organization/o-1234567890"},
	},
	{
		"share.organizational_unit_arns",
		share(`organizational_unit_arns = ["arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"]`),
		func(r run) any { return r.Shares[0].OrganizationalUnits },
		[]string{"arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"},
	},
	{
		"share.ssm_parameter.name",
		share(`ssm_parameter { name = "/golden/{{ .Region }}" }`),
		func(r run) any { return r.Shares[0].Parameters },
		[]distribution.Parameter{{Name: "/golden/{{ .Region }}", Type: "String", DataType: "aws:ec2:image", Overwrite: true}},
	},
	{
		"share.ssm_parameter.type",
		sharedParameter(`type = "SecureString"`),
		func(r run) any { return []string{r.Shares[0].Parameters[0].Type, r.Shares[0].Parameters[0].DataType} },
		[]string{"SecureString", "text"},
	},
	{
		"share.ssm_parameter.data_type",
		sharedParameter(`data_type = "text"`),
		func(r run) any { return r.Shares[0].Parameters[0].DataType },
		"text",
	},
	{
		"share.ssm_parameter.key_id",
		sharedParameter("type = \"SecureString\"\nkey_id = \"alias/{{ .Region }}\""),
		func(r run) any { return r.Shares[0].Parameters[0].KeyID },
		distribution.Text("alias/{{ .Region }}"),
	},
	{
		"share.ssm_parameter.tier",
		sharedParameter(`tier = "Advanced"`),
		func(r run) any { return r.Shares[0].Parameters[0].Tier },
		"Advanced",
	},
	{
		"share.ssm_parameter.description",
		sharedParameter("description = \"of {{ isotime `2006-01-02` }}\""),
		func(r run) any { return r.Shares[0].Parameters[0].Description },
		distribution.Text("of {{ isotime `2006-01-02` }}"),
	},
	{
		"share.ssm_parameter.tags",
		sharedParameter(`tags = { from = "{{ .AMI }}" }`),
		func(r run) any { return r.Shares[0].Parameters[0].Tags },
		map[string]distribution.Text{"from": "{{ .AMI }}"},
	},
	{
		"share.ssm_parameter.overwrite",
		sharedParameter(`overwrite = false`),
		func(r run) any { return r.Shares[0].Parameters[0].Overwrite },
		false,
	},
	{
		"share.kms_grant.grantee_principal",
		share(
			"assume_role {\nrole_name = \"fleet\"\n}\nkms_grant {\ngrantee_principal = \"arn:aws:iam::{{ .AccountId " +
				"}}:role/app\"\n}",
		),
		func(r run) any { return r.Shares[0].Grants },
		[]distribution.Grant{{Grantee: "arn:aws:iam::{{ .AccountId }}:role/app"}},
	},
	{
		"share.kms_grant.operations",
		share("assume_role {\nrole_name = \"fleet\"\n}\nkms_grant {\noperations = [\"Encrypt\", \"Decrypt\"]\n}"),
		func(r run) any { return r.Shares[0].Grants[0].Operations },
		[]string{"Decrypt", "Encrypt"},
	},
	{
		"share.kms_grant.name",
		share("assume_role {\nrole_name = \"fleet\"\n}\nkms_grant {\nname = \"asg\"\n}"),
		func(r run) any { return r.Shares[0].Grants[0].Name },
		distribution.Text("asg"),
	},
	{
		"share.assume_role",
		share("assume_role {\nrole_arn = \"arn:aws:iam::{{ .AccountId }}:role/fleet\"\n}\nkms_grant {}"),
		func(r run) any { return r.Shares[0].Roles },
		[]distribution.Role{{RoleARN: "arn:aws:iam::{{ .AccountId }}:role/fleet"}},
	},
	{"share.profile", share("profile = \"fleet\"\nkms_grant {}"), func(r run) any { return r.Shares[0].Profile }, "fleet"},
	{
		"target.kms_grant.grantee_principal",
		target("kms_grant {\ngrantee_principal = \"arn:aws:iam::999999999999:role/app\"\n}\n"),
		func(r run) any { return r.target().Grants },
		[]distribution.Grant{{Grantee: "arn:aws:iam::999999999999:role/app"}},
	},
	{
		"target.kms_grant.operations",
		target("kms_grant {\noperations = [\"Encrypt\", \"Decrypt\"]\n}\n"),
		func(r run) any { return r.target().Grants[0].Operations },
		[]string{"Decrypt", "Encrypt"},
	},
	{
		"target.kms_grant.name",
		target("kms_grant {\nname = \"asg/{{ .Region }}\"\n}\n"),
		func(r run) any { return r.target().Grants[0].Name },
		distribution.Text("asg/{{ .Region }}"),
	},
	{
		"target.launch_check.instance_type",
		launchCheck(""),
		func(r run) any { return r.target().LaunchCheck.InstanceType },
		"t3.micro",
	},
	{
		"target.launch_check.subnet_id",
		launchCheck(`subnet_id = "subnet-0123456789abcdef0"`),
		func(r run) any { return r.target().LaunchCheck.SubnetID },
		"subnet-0123456789abcdef0",
	},
}

// resumed returns the block of a resume file.
func resumed(claim string) string {
	return "\nexisting_amis = { \"eu-west-1\" = \"ami-0123456789abcdef0\" }\nresume {\n" + claim + "\n}"
}

func TestConfig_everyOption(t *testing.T) {
	for _, o := range options {
		t.Run(o.option, func(t *testing.T) {
			c, err := prepare(t, o.body, nil)
			if err != nil {
				t.Fatal(err)
			}
			request, err := c.Request(images, distribution.Build{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(o.want, o.got(run{request, c.Credentials(), c})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// An option without a case in TestConfig_everyOption could stop working unnoticed.
func TestConfig_optionsWithoutTest(t *testing.T) {
	tested := map[string]bool{}
	for _, o := range options {
		tested[o.option] = true
	}
	named(reflect.TypeFor[config.Config](), "", func(option string) {
		inherited := strings.HasPrefix(option, "target.assume_role.") || strings.HasPrefix(option, "organizations_role.") ||
			strings.HasPrefix(option, "share.assume_role.") // the same struct as at the top level
		if !tested[option] && !inherited {
			t.Errorf("no test of %s", option)
		}
	})
}

// named calls yield for each option of a struct and its blocks.
func named(of reflect.Type, path string, yield func(string)) {
	for _, field := range reflect.VisibleFields(of) {
		option, _, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		if option == "" || strings.HasPrefix(option, "packer_") {
			continue
		}
		inner := field.Type
		for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct { // a block
			named(inner, path+option+".", yield)
		} else {
			yield(path + option)
		}
	}
}

// laterKnown has values that are unknown when Configure runs first. They are mistakes only if they stay unknown.
const laterKnown = `
	timeout      = unknown
	kms_key_id   = unknown
	on_failure   = unknown
	publish      = unknown
	optimize_for = unknown
	existing_amis  = { (build) = unknown }
	assume_role  { role_arn = "arn:aws:iam::${build}:role/builder" }
	target {
		name          = unknown
		account_ids   = [unknown, "${build}"]
		assume_role { role_name = "golden-${build}" }
		kms_key_id    = unknown
		regions       = unknown_list
		ami_name      = build
		tags          = { from = unknown }
		snapshot_tags = { (build) = "x" }
		copy_method        = unknown
		ssm_parameter {
			name        = unknown
			type        = unknown
			key_id      = unknown
			tier        = unknown
			data_type   = unknown
			description = "of ${build}"
			tags        = { from = unknown }
		}
		launch_template {
			name           = unknown
			source_version = unknown
			description    = "of ${build}"
		}
	}
	share {
		name        = unknown
		account_ids = [unknown]
	}
`

var unknownValues = map[string]cty.Value{
	"unknown":        cty.UnknownVal(cty.String),
	"unknown_list":   cty.UnknownVal(cty.List(cty.String)),
	"unknown_number": cty.UnknownVal(cty.Number),
	"build":          cty.StringVal("<unknown>"), // what packer puts in for build.*
}

func TestConfig_unknownValues(t *testing.T) {
	c, err := prepare(t, laterKnown, unknownValues)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Request(images, distribution.Build{})
	if err == nil {
		t.Fatal("values still unknown were accepted")
	}
	golden.Equal(t, "testdata/unknown.golden", err.Error()+"\n")
}

// For dynamic blocks over an unknown list, Packer passes no blocks, so a block for such a list is refused before the
// build. Targets from a data source belong in targets_json, which Packer passes as unknown.
func TestPrepare_dynamicTargetsOfUnknownList(t *testing.T) {
	body := "dynamic \"target\" {\nfor_each = unknown_list\ncontent {\naccount_ids = [target.value]\n}\n}"
	if _, err := prepare(t, body, unknownValues); err == nil || !strings.Contains(err.Error(), "-evaluate-datasources") {
		t.Errorf("got %v", err)
	}
	if _, err := prepare(t, "targets_json = unknown", unknownValues); err != nil {
		t.Errorf("got %v", err)
	}
}

// An unknown list arrives empty, so an empty list is a mistake only in the run.
func TestConfig_unknownListsEmptyInRun(t *testing.T) {
	for name, body := range map[string]string{
		"share[0]": "share {\norganization_arns = unknown_list\n}",
		"share[0]: kms_grant: no effect": "share {\norganization_arns = " +
			"[\"arn:aws:organizations::111111111111:organization/o-1234567890\"]\nassume_role {\nrole_name = " +
			"\"fleet\"\n}\nkms_grant {}\n}",
		"account_ids": "target {\nkms_key_id = \"default\"\naccount_ids = unknown_list\n}",
		"exclude_account_ids: no effect": "target {\nkms_key_id = \"default\"\naccount_ids = " +
			"[\"999999999999\"]\nexclude_account_ids = [\"888888888888\"]\n}",
	} {
		c, err := prepare(t, body, unknownValues)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Request(images, distribution.Build{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Validation knows whether the builder creates AMIs. If another post-processor creates them, only the run knows.
func TestConfig_existingAMIsAndBuilder(t *testing.T) {
	body := prod + "\nexisting_amis = { eu-west-1 = \"ami-0123456789abcdef0\" }"
	for builder, refused := range map[string]bool{
		"amazon-ebs":     true,
		"amazon-chroot":  true,
		"null":           false,
		"virtualbox-iso": false,
	} {
		c := new(config.Config)
		err := c.Prepare(map[string]any{"packer_builder_type": builder}, decoded(t, body, nil))
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "existing_amis: no effect") {
			t.Errorf("%s: %v", builder, err)
		}
	}
}

// Packer renders the templates of top-level options. The plugin renders those of targets itself.
func TestConfig_targetTemplates(t *testing.T) {
	c, err := prepare(t, target(`tags = { v = "{{ .AMI }}" }`)+"\nkms_key_id = \"alias/{{ build_name }}\"", nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := c.Request(images, distribution.Build{})
	if err != nil {
		t.Fatal(err)
	}
	if got := request.KMSKeyID; got != "alias/golden" {
		t.Errorf("kms_key_id is %q", got)
	}
	if got := request.Targets[0].Tags["v"]; got != "{{ .AMI }}" {
		t.Errorf("tag is %q", got)
	}
}

// A second decoding starts from an empty configuration: no value of the first one stays.
func TestConfig_preparedTwice(t *testing.T) {
	c := new(config.Config)
	if err := c.Prepare(packer, decoded(t, assumeRole("")+target(`name = "other"`), nil)); err != nil {
		t.Fatal(err)
	}
	if err := c.Prepare(packer, decoded(t, prod, nil)); err != nil {
		t.Fatal(err)
	}
	request, err := c.Request(images, distribution.Build{})
	if err != nil || len(request.Targets) != 1 || len(c.Credentials().AssumeRole) != 0 {
		t.Errorf("got %v, %v", request, err)
	}
}

// Blocks of JSON templates arrive as maps.
func TestConfig_jsonTemplate(t *testing.T) {
	c := new(config.Config)
	err := c.Prepare(packer, map[string]any{
		"timeout": "2h",
		"target":  []any{map[string]any{"account_ids": []any{"999999999999"}, "kms_key_id": "alias/{{ .Region }}"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if request, err := c.Request(
		images,
		distribution.Build{},
	); err != nil || request.Targets[0].KMSKeyID != "alias/{{ .Region }}" || request.Timeout != 2*time.Hour {
		t.Errorf("got %v, %v", request, err)
	}
	if err := c.Prepare(packer, map[string]any{"targets": "x"}); err == nil {
		t.Error("an unknown option was accepted")
	}
}

// A missing option differs from an unknown map, which Packer passes as an empty map.
func TestPrepare_nullBuilderWithoutAMIs(t *testing.T) {
	null := map[string]any{"packer_builder_type": "null"}
	for body, want := range map[string]string{
		prod: "existing_amis: missing",
		prod + "\nexisting_amis = { eu-west-1 = \"ami-0123456789abcdef0\" }": "",
		prod + "\nexisting_amis = unknown_map":                               "",
	} {
		unknown := map[string]cty.Value{"unknown_map": cty.UnknownVal(cty.Map(cty.String))}
		err := new(config.Config).Prepare(null, decoded(t, body, unknown))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", body, err, want)
		}
	}
}

// A JSON template is decoded without a specification, so the plugin itself must find misspelled options and wrong
// types.
func TestPrepare_misspelledInJSON(t *testing.T) {
	err := new(config.Config).Prepare(packer, map[string]any{
		"kms_key": "alias/golden",
		"target": []any{
			map[string]any{"account_ids": []any{"999999999999"}, "kms_key_id": "default", "regionss": []any{"eu-west-1"}},
		},
	})
	for _, want := range []string{
		`kms_key: there is no such option. Did you mean "kms_key_id"?`,
		`target[0].regionss: there is no such option. Did you mean "regions"?`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestPrepare_invalidDuration(t *testing.T) {
	_, err := prepare(t, prod+"\ntimeout = \"12\"", nil)
	if want := `timeout: "12" is not a duration; write it with a unit, such as "90m" or "12h"`; err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
