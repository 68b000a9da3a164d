// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/e2e"
)

// sample is an HCL block of a page, or the template of an example.
type sample struct {
	name   string // page and line, or folder of the example
	text   string
	blocks map[string]bool // types of the blocks at the top level
}

// listSamples returns the HCL blocks of all pages, and the examples.
func listSamples(t *testing.T) []sample {
	t.Helper()
	var all []sample
	for page, text := range pages(t) {
		name := strings.ReplaceAll(strings.TrimSuffix(page, path.Ext(page)), "/", "-")
		for _, block := range parseMarkdown(text).codeBlocks() {
			if block.Language == "hcl" {
				all = append(all, newSample(t, fmt.Sprintf("%s-line-%d", name, block.Line), block.Text))
			}
		}
	}
	examples := must(filepath.Glob(root + "/example/*/*.pkr.hcl"))(t)
	if len(examples) == 0 {
		t.Fatal("no example found")
	}
	for _, file := range examples {
		all = append(all, newSample(t, "example-"+filepath.Base(filepath.Dir(file)), read(t, file)))
	}
	return all
}

func newSample(t *testing.T, name, text string) sample {
	t.Helper()
	s := sample{name: name, text: text, blocks: map[string]bool{}}
	for _, block := range parseHCL(t, name, text).Blocks {
		s.blocks[block.Type] = true
	}
	return s
}

func parseHCL(t *testing.T, name, text string) *hclsyntax.Body {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), name, hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	return file.Body.(*hclsyntax.Body)
}

// isTemplate reports whether the sample belongs at the top level of a template.
func (s sample) isTemplate() bool {
	topLevel := []string{"packer", "build", "source", "data", "locals", "variable"}
	return slices.ContainsFunc(topLevel, func(block string) bool { return s.blocks[block] })
}

const requiredPlugins = `
packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.8.0"
    }
    encrypted-ami = {
      source  = "github.com/encrypted-ami/encrypted-ami"
      version = ">= 0.1.0"
    }
  }
}
`

const amazonSource = `
source "amazon-ebs" "golden" {
  region        = "ap-northeast-1"
  instance_type = "t3.micro"
  ami_name      = "golden"
  communicator  = "none"
  source_ami    = "ami-0123456789abcdef0"
}
`

const nullSource = `
source "null" "image" {
  communicator = "none"
}
`

// complete returns the sample as a template, with the blocks that it refers to and lacks.
func (s sample) complete(t *testing.T) string {
	t.Helper()
	text := s.text
	if !s.blocks["packer"] {
		text = requiredPlugins + text
	}
	if !s.blocks["build"] {
		text += "\nbuild {\n  sources = [\"source.amazon-ebs.golden\"]\n}\n"
	}
	if strings.Contains(text, "source.amazon-ebs.golden") && !strings.Contains(text, `source "amazon-ebs" "golden"`) {
		text += amazonSource
	}
	return text + declareVariables(t, s.name, text)
}

// variableValues are the values of the variables that samples use without a default.
var variableValues = map[string]string{
	"account_ids":   `["999999999999"]`,
	"accounts":      `{ prod = "999999999999" }`,
	"external_id":   `"golden-images"`,
	"mode":          `"distribute"`,
	"existing_amis": `{}`,
}

// declareVariables returns declarations of the variables that a text uses and does not declare.
func declareVariables(t *testing.T, name, text string) string {
	t.Helper()
	body := parseHCL(t, name, text)
	used := map[string]bool{}
	_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		expression, ok := node.(*hclsyntax.ScopeTraversalExpr)
		if !ok || expression.Traversal.RootName() != "var" || len(expression.Traversal) < 2 {
			return nil
		}
		if attribute, ok := expression.Traversal[1].(hcl.TraverseAttr); ok {
			used[attribute.Name] = true
		}
		return nil
	})
	for _, block := range body.Blocks {
		if block.Type == "variable" {
			delete(used, block.Labels[0])
		}
	}

	var declarations strings.Builder
	for _, variable := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&declarations, "\nvariable %q {\n  default = %s\n}\n", variable, variableValues[variable])
	}
	return declarations.String()
}

// requiredVariables returns the arguments that set the variables without a default.
func requiredVariables(t *testing.T, name, text string) (arguments []string) {
	t.Helper()
	for _, block := range parseHCL(t, name, text).Blocks {
		if block.Type != "variable" || block.Body.Attributes["default"] != nil {
			continue
		}
		variable := block.Labels[0]
		arguments = append(arguments, "-var", variable+"="+strings.Trim(variableValues[variable], `"`))
	}
	return arguments
}

// wrapInBuild returns a build block around a sample that is part of one.
func (s sample) wrapInBuild(t *testing.T) string {
	t.Helper()
	body := s.text
	switch {
	case s.blocks["post-processor"], s.blocks["post-processors"]:
	case s.blocks["target"], s.blocks["share"]:
		options := "kms_key_id = \"alias/golden-source\"\n"
		body = "post-processor \"encrypted-ami\" {\n" + options + body + "}\n"
	default:
		t.Fatalf("%s: got blocks %v, want a template or a part of a build", s.name, slices.Sorted(maps.Keys(s.blocks)))
	}
	source := "amazon-ebs.golden"
	if strings.Contains(body, "existing_amis") {
		source = "null.image"
	}
	return fmt.Sprintf("build {\nname = %q\nsources = [\"source.%s\"]\n%s}\n", s.name, source, body)
}

// All parts of templates become builds of one template, because each start of packer takes a second.
func TestSamples_formattedAndValid(t *testing.T) {
	h := newPackerHost(t)
	unformatted := t.TempDir()
	parts, templates := requiredPlugins+amazonSource+nullSource, map[string]string{}
	for _, s := range listSamples(t) {
		if err := os.WriteFile(filepath.Join(unformatted, s.name+".pkr.hcl"), []byte(s.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s.isTemplate() {
			templates[s.name] = s.complete(t)
		} else {
			parts += s.wrapInBuild(t)
		}
	}
	templates["parts"] = parts + declareVariables(t, "parts", parts)
	if len(templates) < 5 {
		t.Errorf("got %d templates, want 5 or more", len(templates))
	}

	runPacker(t, h, "fmt", "-check", "-diff", unformatted)
	for name, text := range templates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), name+".pkr.hcl")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			runPacker(t, h, slices.Concat([]string{"validate"}, requiredVariables(t, name, text), []string{file})...)
		})
	}
}

// newPackerHost returns a host with both plugins installed. It has no simulated AWS, because validate makes no calls.
func newPackerHost(t *testing.T) e2e.Host {
	t.Helper()
	parts, err := e2e.FindParts()
	if errors.Is(err, e2e.ErrUnset) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := e2e.Host{
		Parts:   parts,
		World:   &e2e.World{Endpoint: "http://127.0.0.1:1"},
		User:    e2e.AccessKey{ID: "builder", Secret: "secret"},
		Folder:  t.TempDir(),
		Plugins: filepath.Join(t.TempDir(), "plugins"),
	}
	if err := parts.Install(t.Context(), h.Plugins); err != nil {
		t.Fatal(err)
	}
	return h
}

func runPacker(t *testing.T, h e2e.Host, arguments ...string) {
	t.Helper()
	output, code, err := h.Run(t.Context(), arguments...)
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 {
		t.Fatalf("packer %s: got exit code %d, want 0\n%s", strings.Join(arguments, " "), code, output)
	}
}
