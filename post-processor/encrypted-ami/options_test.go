// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"slices"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/optioncoverage"
)

func TestOptions_omitted(t *testing.T) {
	spec := new(PostProcessor).ConfigSpec()
	delete(spec, "resume") // only a resume file has it: see resume_test.go
	optioncoverage.Check(t, spec, worlds)
}

// worlds are the simulated accounts of the options. An option is tried in the first world in which it matters, or in
// its own.
var worlds = append(
	optioncoverage.CommonWorlds(func(template func(optioncoverage.Setup) pairs) optioncoverage.Run {
		return afterBuild(func(s *stage) pairs {
			return template(optioncoverage.Setup{
				Fixtures: s.fixtures(),
				Source:   source,
				Target:   prod,
				Other:    other,
				With:     s.withAllPermissions,
			})
		})
	}),
	[]optioncoverage.World{
		{Name: "a target", Run: afterBuild(aTarget), Cases: []optioncoverage.Case{
			{Option: "access_key", Without: "access_key: missing"},
			{Option: "secret_key", Without: "secret_key: missing"},
			{Option: "kms_key_id", Without: "cannot be shared"},
			{Option: "region_kms_key_ids", Value: pairs{tokyo: "alias/second"}},
			{Option: "source_key_access", Value: "grant"},
			{Option: "test_copy", Value: true},
			{Option: "image_family", Value: "web"},
			{Option: "hcp_packer", Value: true},
			{Option: "mode", Value: "cleanup"},
			{Option: "mode", Value: "plan"},
			{Option: "timeout", Value: "1m", With: "the run has taken 1m0s"},
			{Option: "poll_interval", Value: "1m"},
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
			{Option: "target.ami_users", Value: list{other}},
			{Option: "target.ami_org_arns", Value: list{optioncoverage.Organization}},
			{
				Option: "target.license_configuration_arns",
				Value:  list{"arn:aws:license-manager:ap-northeast-1:999999999999:license-configuration:lic-0123456789abcdef0"},
				With:   "rejected the license configuration",
			},
			{Option: "target.ami_ou_arns", Value: list{optioncoverage.Unit}},
		}},
		{Name: "a session", Run: afterBuild(aSession), Cases: []optioncoverage.Case{
			{Option: "token", Without: "InvalidClientTokenId"},
		}},
		{Name: "a credentials file", Run: afterBuild(aCredentialsFile), Cases: []optioncoverage.Case{
			{Option: "shared_credentials_file", Without: "is neither in"},
			{Option: "profile", Value: source},
			{Option: "target.profile", Without: "there are no credentials for account " + prod},
			{Option: "share.profile", Without: "there are no credentials for account " + other},
		}},
		{Name: "roles", Run: afterBuild(roles), Cases: slices.Concat(
			optioncoverage.AssumeRoleCases("assume_role", source, "", "the source credentials cannot be used"),
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
		{Name: "an organization", Run: afterBuild(anOrganization), Cases: []optioncoverage.Case{
			{Option: "organizations_role", Without: "cannot be listed"},
			{Option: "target.organizational_unit_ids"},
			{Option: "target.exclude_account_ids", Value: list{other}},
			{Option: "target.on_missing_role", Without: "does not trust user ci"},
		}},
		{Name: "one of two targets fails", Run: afterBuild(oneOfTwo), Cases: []optioncoverage.Case{
			{Option: "target.required", Value: false, Without: oneFailed},
			{Option: "max_failed_destinations", Value: 1, Without: oneFailed},
			{Option: "on_failure", Value: "cleanup", With: oneFailed, Without: oneFailed},
			{Option: "output_directory", With: oneFailed, Without: oneFailed},
			{Option: "publish", Value: "all", With: "2 of 2 destinations failed", Without: oneFailed},
		}},
		{Name: "an image that is copied already", Run: underNull(copiedImage), Cases: []optioncoverage.Case{
			{Option: "existing_amis", Without: "existing_amis: empty"},
			{Option: "mode", Value: "verify"},
			{Option: "mode", Value: "usage", With: "the usage of 1 of 1 destination is not known"},
		}},
		{Name: "an older release to promote", Run: underNull(olderPromotion), Cases: []optioncoverage.Case{
			{Option: "allow_older_release", Without: "allow_older_release = true"},
			{Option: "only_targets", Value: list{"to " + prod}},
		}},
		{Name: "an image that is not encrypted", Run: afterBuild(unencrypted), Cases: []optioncoverage.Case{
			{Option: "allow_unencrypted_share", Value: true, Without: "allow_unencrypted_share"},
		}},
		{Name: "two accounts in another Region", Run: afterBuild(anotherRegion), Cases: []optioncoverage.Case{
			{Option: "optimize_for", Value: "time"},
		}},
		{Name: "an image that loses something", Run: afterBuild(deprecated), Cases: []optioncoverage.Case{
			{Option: "on_attribute_loss", Value: "fail", With: "DeprecationTime"},
		}},
		{Name: "protection", Run: afterBuild(protectedTarget), Cases: []optioncoverage.Case{
			{Option: "target.deregistration_protection"},
			{Option: "target.deregistration_protection.enabled", Value: false},
			{Option: "target.deregistration_protection.with_cooldown", Value: true},
		}},
		{Name: "an older release", Run: afterBuild(olderRelease), Cases: []optioncoverage.Case{
			{Option: "target.retention"},
			{Option: "target.retention.keep_releases", Without: "keep_releases: missing"},
			{Option: "target.retention.keep_for", Value: "72h"},
			{Option: "target.retention.disable_releases", Value: 1},
			{Option: "target.retention.dry_run", Value: true},
		}},
		{Name: "an older source image", Run: afterBuild(olderSource), Cases: []optioncoverage.Case{
			{Option: "source_retention"},
			{Option: "source_retention.keep_releases", Without: "keep_releases: missing"},
			{Option: "source_retention.keep_for", Value: "72h"},
			{Option: "source_retention.disable_releases", Value: 1},
			{Option: "source_retention.dry_run", Value: true},
		}},
		{Name: "a Windows image", Run: afterBuild(windows("")), Cases: optioncoverage.FastLaunchCases("")},
		{Name: "a Windows image with a launch template by its " +
			"name", Run: afterBuild(windows("template_name")), Cases: optioncoverage.FastLaunchCases("template_name")},
		{Name: "a Windows image with a launch template by its " +
			"id", Run: afterBuild(windows("template_id")), Cases: optioncoverage.FastLaunchCases("template_id")},
		{Name: "a parameter", Run: afterBuild(aParameter), Cases: []optioncoverage.Case{
			{Option: "publish", Value: "hold"},
			{Option: "target.ssm_parameter"},
			{Option: "target.ssm_parameter.name", Without: "name: missing"},
			{Option: "target.ssm_parameter.type", Value: "SecureString"},
			{Option: "target.ssm_parameter.data_type", Value: "text"},
			{Option: "target.ssm_parameter.tier", Value: "Advanced"},
			{Option: "target.ssm_parameter.description", Value: "the web"},
			{Option: "target.ssm_parameter.tags", Value: pairs{"Release": "1"}},
		}},
		{Name: "a secret parameter of a share block", Run: afterBuild(aSharedSecret), Cases: []optioncoverage.Case{
			{Option: "share.ssm_parameter.key_id"},
			{Option: "share.ssm_parameter.tier", Value: "Advanced"},
			{Option: "share.ssm_parameter.description", Value: "the web"},
		}},
	}...)
