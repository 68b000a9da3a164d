// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

// OfRole are the cases of a block assume_role as AssumeRole gives it: what the run ends with without the block, "" for success, and without the external id.
func OfRole(block, account, without, refused string) []Case {
	return []Case{
		{Option: block, Without: without},
		{Option: block + ".role_arn", Without: "role_arn: missing"},
		{Option: block + ".external_id", Without: refused},
		{Option: block + ".session_name"},
		{Option: block + ".duration_seconds"},
		{Option: block + ".policy"},
		{Option: block + ".policy_arns"},
		{Option: block + ".tags"},
		{Option: block + ".transitive_tag_keys", Value: []any{tagOf(account)}},
		{Option: block + ".source_identity"},
	}
}

// AssumeRole is a block for the role strict of an account.
func AssumeRole(account string) map[string]any {
	return map[string]any{"role_arn": "arn:aws:iam::" + account + ":role/strict", "session_name": "packer", "external_id": "hush-strict", "duration_seconds": 1800, "policy": everything,
		"policy_arns": []any{"arn:aws:iam::" + account + ":policy/everything"}, "tags": map[string]any{tagOf(account): "yes"}, "source_identity": "somebody"}
}

// tagOf is another one for each account: what a session has inherited cannot be given once more.
func tagOf(account string) string { return "for-" + account }

// FastLaunch is a block by a launch template that one of its options names, by the name web or its id; "" for none.
func FastLaunch(option, id string) map[string]any {
	switch option {
	case "template_name":
		return map[string]any{option: "web", "template_version": 1}
	case "template_id":
		return map[string]any{option: id, "template_version": 1}
	}
	return map[string]any{}
}

// OfFastLaunch are the cases of a block fast_launch as FastLaunch gives it.
func OfFastLaunch(option string) []Case {
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
