// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import "regexp"

const (
	stepFolder         = "internal/step"
	distributionFolder = "internal/distribution"
	planFolder         = "internal/plan"
	simulatorFolder    = "internal/awssim"
	explanationFolder  = "internal/diagnose"
)

// Limits. A change that exceeds one is discussed first.
const (
	maxFiles                 = 40 // in a folder, without tests
	maxRequestAndFacts       = 4  // the top functions of plan
	maxComplexity            = 15
	maxTargetOptionFiles     = 6
	maxPublishTargetFiles    = 8
	maxStepKindAssertions    = 0
	maxStepIDParsers         = 0
	maxStepCallsWithinPlan   = 0
	maxImportsOutsideOfTable = 0
)

// Options that represent their kind. An identifier or a literal that matches belongs to the option: to its block, noun,
// facts, limits, findings or step.
var (
	targetOption = representative{
		option:     "license_configuration_arns",
		identifier: regexp.MustCompile(`(?i)licen[cs]e`),
		literal:    regexp.MustCompile(`(?i)license.configuration|license-manager`),
	}
	publishTarget = representative{
		option:     "ssm_parameter",
		identifier: regexp.MustCompile(`(?i)parameter`),
		literal:    regexp.MustCompile(`ssm_parameter|SSM parameter|^"parameter_`),
	}
)

// representative is an existing option with which the files of the next one are counted.
type representative struct {
	option              string
	identifier, literal *regexp.Regexp
}

// Modules of others.
const (
	packer    = "github.com/hashicorp/packer-plugin-sdk"
	hcl       = "github.com/hashicorp/hcl/v2"
	cty       = "github.com/zclconf/go-cty"
	awsSDK    = "github.com/aws/aws-sdk-go-v2"
	smithy    = "github.com/aws/smithy-go"
	awsTypes  = awsSDK + "/aws"
	ec2Types  = awsSDK + "/service/ec2/types"
	kmsTypes  = awsSDK + "/service/kms/types"
	structs   = "github.com/mitchellh/mapstructure"
	multiErr  = "github.com/hashicorp/go-multierror"
	goCompare = "github.com/google/go-cmp/cmp"
	extended  = "golang.org/x/"
)

// imports are what a folder may import beside the standard library: folders of ours, and modules of others by prefix.
type imports struct{ ours, others []string }

// layout is the import direction. A folder that is not in it fails.
var layout = map[string]imports{
	".":       {[]string{"post-processor/encrypted-ami", "datasource/preflight", "version"}, []string{packer}},
	"version": {nil, []string{packer}},
	"post-processor/encrypted-ami": {
		[]string{
			"internal/config",
			"internal/awsclient",
			"internal/discover",
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/execute",
			"internal/report",
			"internal/diagnose",
			"internal/provenance",
			"internal/runrecord",
			"internal/recovery",
			"version",
		},
		[]string{packer, hcl, cty, awsSDK},
	},
	"datasource/preflight": {
		[]string{
			"internal/config",
			"internal/awsclient",
			"internal/discover",
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/execute",
			"internal/report",
			"internal/diagnose",
			"internal/runrecord",
			"internal/recovery",
			"version",
		},
		[]string{packer, hcl, cty, awsSDK},
	},

	"internal/distribution": {nil, []string{awsTypes, ec2Types, kmsTypes}},
	"internal/iampolicy":    {nil, nil},
	"internal/recovery":     {nil, nil},
	"internal/provenance":   {[]string{"internal/distribution"}, nil},
	"internal/awsclient":    {[]string{"internal/distribution", "internal/recovery"}, []string{awsSDK, smithy, extended}},
	"internal/runrecord": {
		[]string{"internal/distribution", "internal/provenance", "internal/awsclient"},
		[]string{awsSDK, smithy},
	},
	"internal/step": {
		[]string{"internal/distribution", "internal/provenance", "internal/awsclient", "internal/iampolicy"},
		[]string{awsSDK, smithy},
	},
	"internal/discover": {
		[]string{"internal/distribution", "internal/provenance", "internal/awsclient", "internal/recovery"},
		[]string{awsSDK, extended},
	},
	"internal/plan": {
		[]string{"internal/distribution", "internal/provenance", "internal/step", "internal/iampolicy"},
		[]string{awsTypes, ec2Types, kmsTypes},
	},
	"internal/diagnose": {[]string{"internal/distribution", "internal/step"}, nil},
	"internal/execute": {
		[]string{
			"internal/distribution",
			"internal/step",
			"internal/provenance",
			"internal/runrecord",
			"internal/awsclient",
			"internal/diagnose",
			"internal/recovery",
		},
		[]string{awsSDK, smithy, extended},
	},
	"internal/permissions": {
		[]string{"internal/distribution", "internal/step", "internal/discover", "internal/runrecord", "internal/awsclient"},
		[]string{awsTypes, ec2Types, kmsTypes},
	},
	"internal/permissions/cmd/policies": {[]string{"internal/permissions"}, nil},
	"internal/config": {
		[]string{"internal/distribution"},
		[]string{packer, hcl, cty, awsSDK, structs, multiErr},
	},
	"internal/report": {[]string{"internal/distribution", "internal/plan"}, nil},
	"internal/report/reporttest": {
		[]string{"internal/distribution", "internal/step", "internal/plan", "internal/report"},
		nil,
	},

	"internal/awssim": {
		[]string{"internal/iampolicy", "internal/awssim", "internal/awssim/wire"},
		[]string{awsSDK, smithy},
	},
	"internal/awssim/wire":        {nil, []string{awsSDK, smithy}},
	"internal/awssim/wire/names":  {[]string{"internal/awssim/wire"}, []string{awsSDK, smithy}},
	"internal/awssim/cmd/awssim":  {[]string{"internal/awssim"}, []string{awsSDK}},
	"internal/awssim/cmd/demo":    {[]string{"internal/e2e"}, []string{awsSDK}},
	"internal/e2e":                {nil, []string{awsSDK}},
	"internal/benchmark":          {nil, nil},
	"internal/doctest":            {nil, nil},
	"internal/doctest/cmd/errors": {[]string{"internal/doctest"}, nil},
	"internal/testutil/golden":    {nil, []string{goCompare}},
	"internal/testutil/awsenv":    {nil, nil},
	"internal/testutil/optioncoverage": {
		[]string{"internal/awssim", "internal/testutil/fixture"},
		[]string{hcl, awsSDK},
	},
	"internal/testutil/fixture": {[]string{"internal/awssim"}, []string{packer, awsSDK}},
	"tools/structure":           {nil, nil},
	"tools/words":               {nil, nil},
}
