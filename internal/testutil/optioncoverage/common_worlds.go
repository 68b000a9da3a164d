// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

import (
	"encoding/json"
	"slices"
)

// pairs, blocks and list are options as Packer passes them: maps and blocks, and lists.
type (
	pairs = map[string]any
	list  = []any
)

// Principals of share blocks.
const (
	Organization = "arn:aws:organizations::111111111111:organization/o-1234567890"
	Unit         = "arn:aws:organizations::111111111111:ou/o-1234567890/ou-ab12-34567890"
)

// Setup is the environment in which a component runs the templates of CommonWorlds.
type Setup struct {
	Fixtures
	Source        string // account of the source image
	Target, Other string // accounts with the role "plain"

	// With returns a template for the target account alone, with more options in its target block. The account has the
	// keys alias/golden and alias/second.
	With func(more pairs) pairs
}

// CommonWorlds returns the worlds that test every component. run is how a component runs a template.
func CommonWorlds(run func(template func(Setup) pairs) Run) []World {
	return []World{
		{Name: "targets in JSON", Run: run(inJSON), Cases: []Case{
			{Option: "targets_json", Without: "target: missing"},
		}},
		{Name: "a name that is taken", Run: run(takenName), Cases: []Case{
			{Option: "target.force_deregister", Without: "is taken"},
			{Option: "target.force_delete_snapshot", Value: true},
		}},
		{Name: "a launch check", Run: run(launchCheck), Cases: []Case{
			{Option: "target.launch_check"},
			{Option: "target.launch_check.instance_type", Without: "instance_type: missing"},
			{Option: "target.launch_check.subnet_id"},
			{Option: "run_tags", Value: pairs{"purpose": "check"}},
		}},
		{Name: "a launch check in a subnet of a zone", Run: run(launchCheckInZone), Cases: []Case{
			{Option: "target.launch_check.subnet_filter"},
			{Option: "target.launch_check.subnet_filter.filters", Without: "filters: missing"},
		}},
		{Name: "a secret parameter", Run: run(secretParameter), Cases: []Case{
			{Option: "target.ssm_parameter.key_id"},
		}},
		{Name: "a parameter that names something else", Run: run(takenParameter), Cases: []Case{
			{Option: "target.ssm_parameter.overwrite", Value: false, With: "overwrite"},
		}},
		{Name: "a launch template", Run: run(launchTemplate), Cases: []Case{
			{Option: "target.launch_template"},
			{Option: "target.launch_template.name", Without: "name: missing"},
			{Option: "target.launch_template.source_version", Value: "2"},
			{Option: "target.launch_template.description", Value: "the web"},
			{Option: "target.launch_template.set_default_version", Value: true},
		}},
		{Name: "grants", Run: run(grants), Cases: slices.Concat(
			grantCases("target.kms_grant", ""),
			grantCases("share.kms_grant", "assume_role: no effect without kms_grant"),
			[]Case{{Option: "share.assume_role.role_name", Without: "role_name: missing"}},
		)},
		{Name: "shares", Run: run(shares), Cases: []Case{
			{Option: "share"},
			{Option: "share.name"},
			{Option: "share.account_ids"},
			{Option: "share.organization_arns"},
			{Option: "share.organizational_unit_arns"},
		}},
		{Name: "a parameter of a share block", Run: run(sharedParameter), Cases: []Case{
			{Option: "share.ssm_parameter"},
			{Option: "share.ssm_parameter.name", Without: "name: missing"},
			{Option: "share.ssm_parameter.tags", Value: pairs{"Release": "1"}},
		}},
		{Name: "a parameter of a share block that names something else", Run: run(takenSharedParameter), Cases: []Case{
			{Option: "share.ssm_parameter.type", Value: "SecureString", With: "the parameter is a String"},
			{Option: "share.ssm_parameter.data_type", Without: "the parameter is of data type text"},
			{Option: "share.ssm_parameter.overwrite", Value: false, With: "overwrite"},
		}},
	}
}

func inJSON(s Setup) pairs {
	o := s.With(nil)
	text, err := json.Marshal(o["target"])
	s.must(err)
	delete(o, "target")
	o["targets_json"] = string(text)
	return o
}

// takenName returns a template with the name of an existing image of the target account.
func takenName(s Setup) pairs {
	s.Image(s.Target, "web", s.Snapshot(s.Target, ""))
	return s.With(pairs{"ami_name": "web", "force_deregister": true})
}

func launchCheck(s Setup) pairs {
	return s.With(pairs{"launch_check": pairs{"instance_type": "t3.micro", "subnet_id": s.Subnet(s.Target)}})
}

func launchCheckInZone(s Setup) pairs {
	zone := pairs{"filters": pairs{"availability-zone": s.Region + "c"}}
	return s.With(pairs{"launch_check": pairs{"instance_type": "t3.micro", "subnet_filter": zone}})
}

func secretParameter(s Setup) pairs {
	parameter := pairs{"name": "/golden", "type": "SecureString", "key_id": "alias/second"}
	return s.With(pairs{"ssm_parameter": list{parameter}})
}

func takenParameter(s Setup) pairs {
	s.Parameter(s.Target, "/golden")
	return s.With(pairs{"ssm_parameter": list{pairs{"name": "/golden", "data_type": "text"}}})
}

// withSharedParameter returns a template that shares the image, and names it in a parameter.
func withSharedParameter(s Setup, parameter pairs) pairs {
	o := s.With(nil)
	o["share"] = list{pairs{"account_ids": list{s.Other}, "ssm_parameter": list{parameter}}}
	return o
}

func sharedParameter(s Setup) pairs { return withSharedParameter(s, pairs{"name": "/golden"}) }

func takenSharedParameter(s Setup) pairs {
	s.Parameter(s.Source, "/golden")
	return withSharedParameter(s, pairs{"name": "/golden", "data_type": "text"})
}

func launchTemplate(s Setup) pairs {
	s.LaunchTemplate(s.Target)
	return s.With(pairs{"launch_template": list{pairs{"name": "web"}}})
}

// grants returns a template with grants for Auto Scaling, on the target's key and on the source's key.
func grants(s Setup) pairs {
	s.AutoScaling(s.Target)
	s.AutoScaling(s.Other)
	o := s.With(pairs{"kms_grant": list{pairs{}}})
	o["share"] = list{
		pairs{"account_ids": list{s.Other}, "assume_role": list{pairs{"role_name": "plain"}}, "kms_grant": list{pairs{}}},
	}
	return o
}

// grantCases returns the cases of an empty grant block. without is the error without the block, empty for success.
func grantCases(block, without string) []Case {
	return []Case{
		{Option: block, Without: without},
		{Option: block + ".grantee_principal", Value: "arn:aws:iam::{{ .AccountId }}:role/plain"},
		{Option: block + ".operations", Value: list{"Decrypt", "DescribeKey"}},
		{Option: block + ".name", Value: "web"},
	}
}

func shares(s Setup) pairs {
	o := s.With(nil)
	o["share"] = list{pairs{
		"name":                     "ours",
		"account_ids":              list{s.Other},
		"organization_arns":        list{Organization},
		"organizational_unit_arns": list{Unit},
	}}
	return o
}
