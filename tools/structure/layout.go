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

// These are the limits. A change that exceeds one must be discussed first.
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
	maxPageDifferences       = 0
)

// targetOption and publishTarget represent the options of their kind. An identifier or literal that matches belongs to
// the option.
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
		ignored:    "internal/config/share.go", // share blocks have the option too
	}
)

// representative is an existing option that represents new options of its kind. The files that mention it are counted.
type representative struct {
	option              string
	identifier, literal *regexp.Regexp
	ignored             string // file that uses the option for something else. Empty if none does
}

// These are modules that other projects publish.
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

// imports lists what a folder may import in addition to the standard library: folders of this module, and other modules
// by prefix.
type imports struct{ ours, others []string }

// leaves are folders that import nothing of this module. Every folder may import them.
var leaves = []string{
	"internal/awslimits", // what AWS limits, and where AWS says so
	"internal/iampolicy",
	"internal/invariant", // tests switch invariants off
	"internal/recovery",
	"internal/suggest",
	"version",
}

// layout defines the import directions. A folder that is missing here is an error.
var layout = map[string]imports{
	".": {[]string{"post-processor/encrypted-ami", "datasource/preflight"}, []string{packer}},

	"version":            {nil, []string{packer}},
	"internal/awslimits": {nil, nil},
	"internal/iampolicy": {nil, nil},
	"internal/invariant": {nil, nil},
	"internal/recovery":  {nil, nil},
	"internal/suggest":   {nil, nil},

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
			"internal/resume",
			"internal/diagnose",
			"internal/provenance",
			"internal/runrecord",
		},
		[]string{packer, hcl, cty, awsSDK},
	},
	"datasource/preflight": {
		[]string{
			"internal/config",
			"internal/awsclient",
			"internal/discover",
			"internal/distribution",
			"internal/plan",
			"internal/execute",
			"internal/report",
			"internal/diagnose",
			"internal/runrecord",
		},
		[]string{packer, hcl, cty, awsSDK},
	},

	// Package distribution imports it, because facts hold signing keys and runs.
	"internal/provenance":   {nil, nil},
	"internal/distribution": {[]string{"internal/provenance"}, []string{awsTypes, ec2Types, kmsTypes}},
	"internal/awsclient":    {[]string{"internal/distribution"}, []string{awsSDK, smithy, extended}},
	"internal/runrecord": {
		[]string{"internal/distribution", "internal/provenance", "internal/awsclient"},
		[]string{awsSDK, smithy},
	},

	// Credentials and the own tags of the plugin are options as well.
	"internal/config": {
		[]string{"internal/distribution", "internal/awsclient", "internal/provenance", "internal/resume"},
		[]string{packer, hcl, cty, awsSDK, structs, multiErr},
	},
	"internal/resume": {[]string{"internal/distribution"}, []string{hcl, cty}},

	"internal/step": {
		[]string{"internal/distribution", "internal/provenance", "internal/awsclient"},
		[]string{awsSDK, smithy},
	},
	"internal/plan": {
		[]string{"internal/distribution", "internal/provenance", "internal/step"},
		[]string{awsTypes, ec2Types, kmsTypes},
	},

	// An assessment says what to look up, and a permission is what a lookup needs.
	"internal/discover": {
		[]string{
			"internal/distribution",
			"internal/provenance",
			"internal/awsclient",
			"internal/step",
			"internal/plan",
		},
		[]string{awsSDK, extended},
	},

	// A plan holds steps, so a package that reads plans needs both.
	"internal/execute": {
		[]string{
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/provenance",
			"internal/runrecord",
			"internal/awsclient",
			"internal/diagnose",
		},
		[]string{awsSDK, smithy, extended},
	},
	"internal/diagnose": {[]string{"internal/distribution", "internal/step", "internal/provenance"}, nil},
	"internal/report":   {[]string{"internal/distribution", "internal/step", "internal/plan"}, nil},
	"internal/report/reporttest": {
		[]string{"internal/distribution", "internal/step", "internal/plan", "internal/report"},
		nil,
	},
	"internal/permissions": {
		[]string{
			"internal/distribution",
			"internal/provenance",
			"internal/step",
			"internal/plan",
			"internal/discover",
			"internal/runrecord",
			"internal/awsclient",
		},
		[]string{awsTypes, ec2Types, kmsTypes},
	},
	"internal/permissions/cmd/policies": {[]string{"internal/permissions"}, nil},

	"internal/awssim": {
		[]string{"internal/awssim", "internal/awssim/wire"},
		[]string{awsSDK, smithy},
	},
	"internal/awssim/wire":           {nil, []string{awsSDK, smithy}},
	"internal/awssim/wire/names":     {[]string{"internal/awssim/wire"}, []string{awsSDK, smithy}},
	"internal/awssim/cmd/awssim":     {[]string{"internal/awssim"}, []string{awsSDK}},
	"internal/awssim/cmd/demo":       {[]string{"internal/e2e"}, []string{awsSDK}},
	"internal/e2e":                   {nil, []string{awsSDK}},
	"internal/benchmark":             {nil, nil},
	"internal/testutil/awsenv":       {nil, nil},
	"internal/testutil/fixture":      {[]string{"internal/awssim"}, []string{packer, awsSDK}},
	"internal/testutil/golden":       {nil, []string{goCompare}},
	"internal/testutil/limitsamples": {nil, nil},
	"internal/testutil/optioncoverage": {
		[]string{"internal/awssim", "internal/testutil/fixture"},
		[]string{hcl, awsSDK},
	},
	"tools/policies":  {nil, nil},
	"tools/structure": {nil, nil},
	"tools/words":     {nil, nil},
}
