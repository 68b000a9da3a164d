// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/encrypted-ami/packer-plugin-encrypted-ami/"

// allowedImports lists what each folder may import of ours, and which modules of others beside the standard library.
// Imports run one way.
var allowedImports = map[string]struct{ ours, others []string }{
	".": {
		[]string{"post-processor/encrypted-ami", "datasource/preflight", "version"},
		[]string{packer},
	},
	"version": {nil, []string{packer}},
	"post-processor/encrypted-ami": {
		[]string{
			"internal/resume",
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
			"version",
			"internal/recovery",
		},
		[]string{packer, hcl, cty, aws},
	},
	"datasource/preflight": {
		[]string{
			"internal/config",
			"internal/awsclient",
			"internal/discover",
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/report",
			"internal/diagnose",
			"internal/execute",
			"version",
		},
		[]string{packer, hcl, cty, aws},
	},
	"internal/config": {
		[]string{
			"internal/resume",
			"internal/suggest",
			"internal/awslimits",
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/awsclient",
			"internal/provenance",
		},
		[]string{packer, hcl, cty, aws, "github.com/mitchellh/mapstructure", "github.com/hashicorp/go-multierror"},
	},
	"internal/awsclient": {
		[]string{"internal/distribution", "internal/step", "internal/plan", "internal/recovery"},
		[]string{aws, smithy, "golang.org/x/"},
	},
	"internal/discover": {
		[]string{
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/awsclient",
			"internal/provenance",
			"internal/recovery",
		},
		[]string{aws, "golang.org/x/"},
	},
	"internal/distribution": {
		[]string{"internal/suggest", "internal/provenance"},
		[]string{aws + "/aws", aws + "/service/ec2/types", aws + "/service/kms/types"},
	},
	"internal/step": {
		[]string{
			"internal/distribution",
			"internal/invariant",
			"internal/awsclient",
			"internal/provenance",
			"internal/iampolicy",
		},
		[]string{aws},
	},
	"internal/plan": {
		[]string{
			"internal/awslimits",
			"internal/invariant",
			"internal/distribution",
			"internal/step",
			"internal/iampolicy",
			"internal/provenance",
		},
		[]string{aws + "/aws", aws + "/service/ec2/types", aws + "/service/kms/types"},
	},
	"internal/execute": {
		[]string{
			"internal/distribution",
			"internal/step",
			"internal/plan",
			"internal/awsclient",
			"internal/provenance",
			"internal/invariant",
			"internal/runrecord",
			"internal/diagnose",
			"internal/recovery",
		},
		[]string{aws, smithy, "golang.org/x/"},
	},
	"internal/awslimits":             {nil, nil},
	"internal/testutil/limitsamples": {[]string{"internal/awslimits"}, nil},
	"internal/provenance":            {[]string{"internal/invariant"}, nil},
	"internal/invariant":             {nil, nil},
	"internal/suggest":               {nil, nil},
	"internal/resume":                {[]string{"internal/distribution"}, []string{hcl, cty}},
	"internal/runrecord": {
		[]string{"internal/provenance", "internal/recovery", "internal/invariant"},
		[]string{aws},
	},
	"internal/permissions": {
		[]string{"internal/distribution", "internal/step", "internal/plan", "internal/discover", "internal/provenance"},
		[]string{aws + "/aws", aws + "/service/ec2/types", aws + "/service/kms/types"},
	},
	"internal/permissions/cmd/policies": {[]string{"internal/permissions"}, nil},
	"internal/iampolicy":                {nil, nil},
	"internal/recovery":                 {nil, nil},
	"internal/testutil/awsenv":          {nil, nil},
	"internal/testutil/golden":          {nil, []string{"github.com/google/go-cmp/cmp"}},
	// for tests, like internal/testutil/awsenv
	"internal/testutil/optioncoverage": {[]string{"internal/awssim"}, []string{hcl, aws}},
	"internal/testutil/fixture":        {[]string{"internal/awssim"}, []string{packer, aws}},
	"internal/diagnose": {
		[]string{"internal/distribution", "internal/step", "internal/plan", "internal/provenance"},
		nil,
	},
	"internal/report": {[]string{"internal/distribution", "internal/step", "internal/plan"}, nil},
	"internal/report/reporttest": {
		[]string{"internal/distribution", "internal/step", "internal/plan", "internal/report"},
		nil,
	},
	"internal/report/browsertest": {nil, nil},
	"internal/e2e":                {nil, []string{aws}},
	"internal/awssim/cmd/demo":    {[]string{"internal/e2e"}, []string{aws}},
	"internal/awssim":             {[]string{"internal/iampolicy", "internal/awssim"}, []string{aws, smithy}},
	"internal/doctest":            {[]string{"internal/report"}, []string{"github.com/google/jsonschema-go"}},
	"internal/doctest/cmd/errors": {[]string{"internal/doctest"}, nil},
	"internal/doctest/cmd/schema": {[]string{"internal/doctest"}, nil},
	"internal/benchmark":          {nil, nil},
}

const (
	packer = "github.com/hashicorp/packer-plugin-sdk"
	hcl    = "github.com/hashicorp/hcl/v2"
	cty    = "github.com/zclconf/go-cty"
	aws    = "github.com/aws/aws-sdk-go-v2"
	smithy = "github.com/aws/smithy-go"
)

func TestImports_direction(t *testing.T) {
	files := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		folder, _ := filepath.Rel("..", filepath.Dir(path))
		if entry.IsDir() {
			if path != ".." && isToolFolder(entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		may, known := allowedImports[folder]
		if !known && strings.HasPrefix(folder, "internal/awssim/") { // all folders of the simulator share one entry
			may, known = allowedImports["internal/awssim"]
		}
		if !known {
			t.Errorf("%s is missing in allowedImports", folder)
			return nil
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			if imported := strings.Trim(spec.Path.Value, `"`); !isAllowedImport(imported, may.ours, may.others) {
				t.Errorf("%s imports %s", path, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Error("no file was looked at")
	}
}

// isToolFolder reports whether a folder holds no code of the plugin: tools, test data, or files of Git and CI.
func isToolFolder(name string) bool {
	return strings.HasPrefix(name, ".") || name == "tools" || name == "testdata"
}

// isAllowedImport reports whether a file may import a package. ours and others are what allowedImports lists for its
// folder.
func isAllowedImport(imported string, ours, others []string) bool {
	if isStandard := !strings.Contains(strings.Split(imported, "/")[0], "."); isStandard {
		return true
	}

	folder, isOurs := strings.CutPrefix(imported, module)
	if !isOurs {
		return slices.ContainsFunc(others, func(prefix string) bool { return strings.HasPrefix(imported, prefix) })
	}
	if folder == "internal/invariant" { // constants without imports of their own
		return true
	}
	return slices.ContainsFunc(ours, func(listed string) bool {
		return folder == listed || listed == "internal/awssim" && strings.HasPrefix(folder, listed)
	})
}
