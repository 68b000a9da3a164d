// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"slices"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/optioncoverage"
)

// Each option changes the outcome: without it, a test case ends differently.
func TestOptions_omitted(t *testing.T) {
	spec := new(Datasource).ConfigSpec()
	delete(spec, "resume") // only a resume file has it
	optioncoverage.Check(t, spec, worlds)
}

// worlds are the simulated accounts of the options. An option is tried in the first world in which it matters. Options
// that only a run uses are passed to the post-processor.
var worlds = append(
	optioncoverage.CommonWorlds(func(template func(optioncoverage.Setup) pairs) optioncoverage.Run {
		return on(func(s *stage) pairs {
			return template(optioncoverage.Setup{
				Fixtures: s.fixtures(),
				Source:   source,
				Target:   prod,
				Other:    other,
				With:     s.with,
			})
		})
	}),
	[]optioncoverage.World{
		{Name: "a build", Run: on(aBuild), Cases: []optioncoverage.Case{
			{Option: "access_key", Without: "access_key: missing"},
			{Option: "secret_key", Without: "secret_key: missing"},
			{Option: "timeout", Value: "100ms", With: "the preflight has taken 100ms"},
			{Option: "kms_key_id", Without: "cannot use an AWS managed key"},
			{Option: "region_kms_key_ids", Value: pairs{tokyo: "alias/second"}},
			{Option: "source_key_access", Value: "grant"},
			{Option: "test_copy", Value: true},
			{Option: "image_family"},
			{Option: "target", Without: "target: missing"},
			{Option: "target.name"},
			{Option: "target.account_ids", Without: "account_ids: missing"},
			{Option: "target.assume_role.role_name", Without: "role_name: missing"},
			{Option: "target.kms_key_id", Without: "kms_key_id: missing"},
			{Option: "target.region_kms_key_ids", Value: pairs{tokyo: "alias/second"}},
			{Option: "target.regions", Value: list{"us-west-2"}},
			{Option: "target.copy_method", Value: "image"},
			{Option: "target.ami_name", Value: "web 1"},
			{Option: "target.ami_description", Value: "the web"},
			{Option: "target.tags", Value: pairs{"Release": "1"}},
			{Option: "target.snapshot_tags", Value: pairs{"Release": "1"}},
			{Option: "target.snapshot_copy_duration_minutes", Value: 30},
			{Option: "target.volume_initialization_rate", Value: 200},
			{Option: "watermarks", Value: list{"golden"}},
			{Option: "target.watermarks", Value: list{"approved"}},
			{Option: "target.deprecate_at", Value: "2001-01-01T00:00:00Z"},
			{Option: "target.deregistration_protection", Value: pairs{}},
			{Option: "target.retention", Value: pairs{"keep_releases": 1}},
			{Option: "target.ami_users", Value: list{other}},
			{Option: "target.ami_org_arns", Value: list{optioncoverage.Organization}},
			{
				Option: "target.license_configuration_arns",
				Value:  list{"arn:aws:license-manager:ap-northeast-1:999999999999:license-configuration:lic-0123456789abcdef0"},
			},
			{Option: "target.ami_ou_arns", Value: list{optioncoverage.Unit}},
			{Option: "amazon_ebs", Without: "source_ami: missing"},
			{Option: "amazon_ebs.region", Without: "region: missing"},
			{Option: "amazon_ebs.ami_name", Value: "golden 1"},
			{Option: "amazon_ebs.encrypt_boot", Value: true},
			{Option: "amazon_ebs.ami_regions", Value: list{"us-west-2"}},
			{
				Option: "amazon_ebs.launch_block_device_mappings",
				Value:  list{pairs{"device_name": "/dev/xvda", "encrypted": true, "kms_key_id": "alias/golden"}},
			},
		}},
		{Name: "two accounts in another Region", Run: on(anotherRegion), Cases: []optioncoverage.Case{
			{Option: "optimize_for", Value: "time"},
		}},
		{Name: "options of runs", Run: on(aBuild), Cases: []optioncoverage.Case{
			{Option: "existing_amis", Value: pairs{tokyo: "ami-0123456789abcdef0"}, With: nothingMade},
			{Option: "allow_older_release", Value: true, With: nothingMade},
			{Option: "only_targets", Value: list{"to " + prod}, With: nothingMade},
			{Option: "on_failure", Value: "cleanup", With: nothingMade},
			{Option: "mode", Value: "plan", With: nothingMade},
			{Option: "output_directory", Value: "dist", With: nothingMade},
			{Option: "hcp_packer", Value: true, With: nothingMade},
			{Option: "poll_interval", Value: "1m", With: nothingMade},
		}},
		{Name: "a block of runs", Run: on(aSourceRetention), Cases: []optioncoverage.Case{
			{Option: "source_retention", With: nothingMade},
			{Option: "source_retention.keep_releases", With: nothingMade, Without: "keep_releases: missing"},
			{Option: "source_retention.keep_for", Value: "72x", With: "72x", Without: nothingMade},
			{Option: "source_retention.disable_releases", Value: "some", With: "some", Without: nothingMade},
			{Option: "source_retention.dry_run", Value: "maybe", With: "maybe", Without: nothingMade},
		}},
		{Name: "a session", Run: on(aSession), Cases: []optioncoverage.Case{
			{Option: "token", Without: "InvalidClientTokenId"},
		}},
		{Name: "a credentials file", Run: on(aCredentialsFile), Cases: []optioncoverage.Case{
			{Option: "shared_credentials_file", Without: "is neither in"},
			{Option: "profile", Value: source},
			{Option: "target.profile", Without: "there are no credentials for account " + prod},
			{Option: "share.profile", Without: "there are no credentials for account " + other},
		}},
		{Name: "roles", Run: on(roles), Cases: slices.Concat(
			optioncoverage.AssumeRoleCases("assume_role", source, "", "sts:AssumeRole"),
			[]optioncoverage.Case{{Option: "assume_role_from", Value: "base"}},
			optioncoverage.AssumeRoleCases("organizations_role", management, "cannot be listed", "cannot be listed"),
			optioncoverage.AssumeRoleCases(
				"target.assume_role",
				prod,
				"assume_role: missing",
				"external_id is missing, or the role does not",
			),
			optioncoverage.AssumeRoleCases(
				"share.assume_role",
				other,
				"assume_role: missing for account "+other,
				"external_id is missing, or the role does not",
			),
		)},
		{Name: "an organization", Run: on(anOrganization), Cases: []optioncoverage.Case{
			{Option: "organizations_role", Without: "cannot be listed"},
			{Option: "target.organizational_unit_ids"},
			{Option: "target.exclude_account_ids", Value: list{management}},
			{Option: "target.on_missing_role", Without: "the role does not exist or does not trust"},
		}},
		{Name: "one of two targets is refused", Run: on(oneOfTwo), Cases: []optioncoverage.Case{
			{Option: "target.required", Value: false, Without: "alias/missing does not exist"},
			{Option: "max_failed_destinations", Value: 1, Without: "alias/missing does not exist"},
			{Option: "fail_on", Value: "never", Without: "alias/missing does not exist"},
		}},
		{Name: "no encryption", Run: on(unencrypted), Cases: []optioncoverage.Case{
			{Option: "allow_unencrypted_share", Value: true, Without: "allow_unencrypted_share"},
		}},
		{Name: "encrypt_boot", Run: on(encryptBoot), Cases: []optioncoverage.Case{
			{Option: "amazon_ebs.kms_key_id"},
			{Option: "amazon_ebs.region_kms_key_ids"},
		}},
		{Name: "launch volumes", Run: on(launchVolumes), Cases: []optioncoverage.Case{
			{Option: "amazon_ebs.launch_block_device_mappings.device_name", Without: "device_name: missing"},
			{Option: "amazon_ebs.launch_block_device_mappings.kms_key_id"},
			{Option: "amazon_ebs.launch_block_device_mappings.encrypted", Without: "AWS refuses a key without encrypted = true"},
			{Option: "amazon_ebs.launch_block_device_mappings.snapshot_id"},
			{Option: "amazon_ebs.launch_block_device_mappings.volume_size", Value: 20},
			{Option: "amazon_ebs.launch_block_device_mappings.no_device", Value: true},
			{Option: "amazon_ebs.launch_block_device_mappings.volume_type", Value: "gp3", NoEffect: true},
			{Option: "amazon_ebs.launch_block_device_mappings.iops", Value: 3000, NoEffect: true},
			{Option: "amazon_ebs.launch_block_device_mappings.throughput", Value: 125, NoEffect: true},
			{Option: "amazon_ebs.launch_block_device_mappings.delete_on_termination", Value: true, NoEffect: true},
			{Option: "amazon_ebs.launch_block_device_mappings.virtual_name", Value: "ephemeral0", NoEffect: true},
		}},
		{Name: "a source AMI by its id", Run: on(aSourceAMI), Cases: []optioncoverage.Case{
			{Option: "amazon_ebs.source_ami", Without: "source_ami: missing"},
		}},
		{Name: "several source AMIs", Run: on(severalSourceAMIs), Cases: []optioncoverage.Case{
			{Option: "amazon_ebs.source_ami_filter", Without: "source_ami: missing"},
			{Option: "amazon_ebs.source_ami_filter.owners", Without: "owners: missing"},
			{Option: "amazon_ebs.source_ami_filter.filters"},
			{Option: "amazon_ebs.source_ami_filter.most_recent", Without: "images match"},
			{Option: "amazon_ebs.source_ami_filter.include_deprecated", Value: true},
		}},
		{Name: "an image that loses something", Run: on(aCopiedSourceAMI), Cases: []optioncoverage.Case{
			{Option: "on_attribute_loss", Value: "fail"},
		}},
		{Name: "protection", Run: on(protectedTarget), Cases: []optioncoverage.Case{
			{Option: "target.deregistration_protection.enabled", Value: false},
			{Option: "target.deregistration_protection.with_cooldown", Value: true},
		}},
		{Name: "releases", Run: on(olderReleases), Cases: []optioncoverage.Case{
			{Option: "target.retention.keep_releases", Without: "keep_releases: missing"},
			{Option: "target.retention.keep_for", Value: "72h", PassedOn: true},
			{Option: "target.retention.disable_releases", Value: 1, PassedOn: true},
			{Option: "target.retention.dry_run", Value: true, PassedOn: true},
		}},
		{Name: "a Windows image", Run: on(windows("")), Cases: optioncoverage.FastLaunchCases("")},
		{Name: "a Windows image with a launch template by its " +
			"name", Run: on(windows("template_name")), Cases: optioncoverage.FastLaunchCases("template_name")},
		{Name: "a Windows image with a launch template by its " +
			"id", Run: on(windows("template_id")), Cases: optioncoverage.FastLaunchCases("template_id")},
		{Name: "parameters", Run: on(aParameter), Cases: []optioncoverage.Case{
			{Option: "publish", Value: "all"},
			{Option: "publish", Value: "hold"},
			{Option: "target.ssm_parameter"},
			{Option: "target.ssm_parameter.name", Without: "name: missing"},
			{Option: "target.ssm_parameter.type", Value: "SecureString", PassedOn: true},
			{Option: "target.ssm_parameter.data_type", Value: "text", PassedOn: true},
			{Option: "target.ssm_parameter.tier", Value: "Advanced", PassedOn: true},
			{Option: "target.ssm_parameter.description", Value: "the web", PassedOn: true},
			{Option: "target.ssm_parameter.tags", Value: pairs{"Release": "1"}},
		}},
		{Name: "a secret parameter of a share block", Run: on(aSharedSecret), Cases: []optioncoverage.Case{
			{Option: "share.ssm_parameter.key_id", NoEffect: true},
			{Option: "share.ssm_parameter.tier", Value: "Advanced", NoEffect: true},
			{Option: "share.ssm_parameter.description", Value: "the web", NoEffect: true},
		}},
	}...)
