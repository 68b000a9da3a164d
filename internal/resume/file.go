// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package resume

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/hashicorp/hcl/v2/hcldec"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// FilePrefix is the prefix of the names of all resume files, including those that are kept for another AMI.
const FilePrefix = "resume"

// FileName is the name of the file in the output directory of a run.
const FileName = "resume.pkr.hcl"

// pluginSource is the address of the plugin in required_plugins.
const pluginSource = "github.com/encrypted-ami/encrypted-ami"

// File is a template that resumes a run.
type File struct {
	Path            string // where it is written, as a command names it
	PluginVersion   string // empty for a development version, which packer init cannot install
	Started         time.Time
	RunID           string
	SourceAccountID string
	BaseAMI         string // empty if unknown
	BuildName       string
	OutputDirectory string
	Images          []distribution.SourceImage

	// Options holds the options as Packer passed them, before template variables are rendered.
	Options map[string]any
	// Spec describes the options.
	Spec map[string]hcldec.Spec

	// SensitiveVariables names the variables of the template that Packer marks as sensitive.
	SensitiveVariables []string
	// Getenv reads the environment.
	Getenv func(string) string
}

// ami returns the ID of the source AMI, for comments and for the name of a file that is kept for another AMI.
func (f File) ami() string {
	if len(f.Images) == 0 {
		return ""
	}
	return f.Images[0].ImageID
}

// Content returns the template, and the variables that it needs.
func (f File) Content() ([]byte, []Variable) {
	options, variables := f.options()
	out := hclwrite.NewEmptyFile()
	body := out.Body()
	f.requirePlugin(body)

	mode := body.AppendNewBlock("variable", []string{"mode"}).Body()
	mode.SetAttributeRaw("type", hclwrite.TokensForIdentifier("string"))
	mode.SetAttributeValue("default", cty.StringVal("distribute"))
	body.AppendNewline()
	for _, v := range variables {
		v.write(body)
	}

	null := body.AppendNewBlock("source", []string{"null", "resume"}).Body()
	null.SetAttributeValue("communicator", cty.StringVal("none"))
	body.AppendNewline()

	build := body.AppendNewBlock("build", nil).Body()
	build.SetAttributeValue("sources", cty.ListVal([]cty.Value{cty.StringVal("source.null.resume")}))
	build.AppendNewline()
	f.postProcessor(build.AppendNewBlock("post-processor", []string{"encrypted-ami"}).Body(), options, variables)

	var text bytes.Buffer
	text.WriteString(f.header(variables))
	text.Write(hclwrite.Format(out.Bytes()))
	return text.Bytes(), variables
}

func (f File) header(variables []Variable) string {
	version := "a development version of packer-plugin-encrypted-ami"
	if f.PluginVersion != "" {
		version = "packer-plugin-encrypted-ami " + f.PluginVersion
	}
	lines := []string{
		fmt.Sprintf("# Resumes the distribution of %s that started at %s.", f.ami(), f.Started.UTC().Format(time.RFC3339)),
		"# Run: " + f.RunID,
		"# Written by " + version + ". It holds no secrets. A run that finishes every destination deletes it.",
		"#",
		"#   packer init " + f.Path + "     # on a machine without the plugin",
		"#   " + Command(f.Path, variables),
		"#",
		"# Give up instead, and clean up:",
		"#",
		"#   " + CleanupCommand(f.Path, variables),
		"#",
	}
	if names := UsedEnvironment(variables); names != "" {
		lines = append(lines, "# It uses "+names+" of the environment.")
	}
	lines = append(lines,
		"# The options are a copy. If you correct one in your template, correct it here as well.", "", "")
	return strings.Join(lines, "\n")
}

func (f File) requirePlugin(body *hclwrite.Body) {
	plugins := body.AppendNewBlock("packer", nil).Body().AppendNewBlock("required_plugins", nil).Body()
	plugin := map[string]cty.Value{"source": cty.StringVal(pluginSource)}
	if f.PluginVersion != "" {
		plugin["version"] = cty.StringVal(">= " + f.PluginVersion)
	}
	plugins.SetAttributeValue("encrypted-ami", cty.ObjectVal(plugin))
	body.AppendNewline()
}

// postProcessor writes the block that resumes the run.
func (f File) postProcessor(body *hclwrite.Body, options map[string]any, variables []Variable) {
	images := map[string]cty.Value{}
	for _, image := range f.Images {
		images[image.Region] = cty.StringVal(image.ImageID)
	}
	body.SetAttributeTraversal("mode", variable("mode"))
	body.SetAttributeValue("existing_amis", cty.ObjectVal(images))
	body.SetAttributeValue("output_directory", cty.StringVal(f.OutputDirectory))
	w := writer{variables: variables}
	w.attributes(body, f.Spec, options)

	body.AppendNewline()
	resumed := body.AppendNewBlock("resume", nil).Body()
	for _, claim := range []struct{ name, value string }{
		{"run_id", f.RunID},
		{"source_account_id", f.SourceAccountID},
		{"source_ami", f.BaseAMI},
		{"build_name", f.BuildName},
	} {
		if claim.value != "" {
			resumed.SetAttributeValue(claim.name, cty.StringVal(claim.value))
		}
	}
	w.blocks(body, f.Spec, options)
}

// headerPattern matches the first lines of a file that this package wrote.
var headerPattern = regexp.MustCompile(`(?m)\A# Resumes the distribution of (\S*) that .*\n# Run: (\S*)$`)

// Identify returns the AMI and the run of a resume file. The result is false for a file that the plugin did not write.
func Identify(content []byte) (ami, runID string, ok bool) {
	found := headerPattern.FindSubmatch(content)
	if found == nil {
		return "", "", false
	}
	return string(found[1]), string(found[2]), true
}
