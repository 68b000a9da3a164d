// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

import "strings"

// AssumeRoleCases returns the cases of an AssumeRoleBlock. withoutBlock is the error without the block, empty for
// success. withoutExternalID is the error without the external ID.
func AssumeRoleCases(block, account, withoutBlock, withoutExternalID string) []Case {
	withoutARN, withName := "role_arn: missing", "role_name: \"strict\" has no account here"
	if strings.Contains(block, ".") { // in a target or share
		withoutARN, withName = "role_name: missing", "role_name: no effect beside role_arn"
	}
	return []Case{
		{Option: block, Without: withoutBlock},
		{Option: block + ".role_arn", Without: withoutARN},
		{Option: block + ".role_name", Value: "strict", With: withName},
		{Option: block + ".external_id", Without: withoutExternalID},
		{Option: block + ".session_name"},
		{Option: block + ".duration_seconds"},
		{Option: block + ".policy"},
		{Option: block + ".policy_arns"},
		{Option: block + ".tags"},
		{Option: block + ".transitive_tag_keys", Value: []any{sessionTag(account)}},
		{Option: block + ".source_identity"},
	}
}

// AssumeRoleBlock returns a block for the role "strict" of an account.
func AssumeRoleBlock(account string) map[string]any {
	return map[string]any{
		"role_arn":         "arn:aws:iam::" + account + ":role/strict",
		"session_name":     "packer",
		"external_id":      "hush-strict",
		"duration_seconds": 1800,
		"policy":           allowAllPolicy,
		"policy_arns":      []any{"arn:aws:iam::" + account + ":policy/everything"},
		"tags":             map[string]any{sessionTag(account): "yes"},
		"source_identity":  "somebody",
	}
}

// sessionTag returns a tag key that differs by account, because a session cannot pass a tag that it has inherited.
func sessionTag(account string) string { return "for-" + account }

// FastLaunchBlock returns a block whose option names a launch template: "template_name", "template_id" or none.
func FastLaunchBlock(option, id string) map[string]any {
	switch option {
	case "template_name":
		return map[string]any{option: "web", "template_version": 1}
	case "template_id":
		return map[string]any{option: id, "template_version": 1}
	}
	return map[string]any{}
}

// FastLaunchCases returns the cases of a FastLaunchBlock.
func FastLaunchCases(option string) []Case {
	const block = "target.fast_launch"
	switch option {
	case "template_name":
		return []Case{
			{Option: block + ".template_name", Without: "template_version: no effect"},
			{Option: block + ".template_version", Without: "template_version: missing"},
		}
	case "template_id":
		return []Case{{Option: block + ".template_id", Without: "template_version: no effect"}}
	}
	return []Case{
		{Option: block},
		{Option: block + ".enable_fast_launch", Value: false},
		{Option: block + ".max_parallel_launches", Value: 8},
		{Option: block + ".target_resource_count", Value: 10},
	}
}
