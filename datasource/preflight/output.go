// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate packer-sdc mapstructure-to-hcl2 -type Output,Volume
//go:generate packer-sdc struct-markdown

package preflight

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// Output is what a preflight has found.
type Output struct {
	// Whether every volume of the AMI will be encrypted, in every Region.
	PredictedEncrypted bool `mapstructure:"predicted_encrypted"`
	// The ARN of the key that all of its volumes will be under in the Region of the build; empty where they will be under several, and where they will be under none.
	PredictedKMSKeyARN string `mapstructure:"predicted_kms_key_arn"`
	// Whether the AMI can be handed on as it comes out: nothing has to be copied in the source account first.
	Shareable bool `mapstructure:"shareable"`
	// Why the AMI will be encrypted, or that nothing asks for it.
	Reason string `mapstructure:"reason"`
	// The id of the AMI that the build starts from.
	SourceAMI string `mapstructure:"source_ami"`
	// Each volume of the AMI in each Region. See [Volume](#volume).
	Volumes []Volume `mapstructure:"volumes"`
	// Full copies of volumes that the builder makes before the image is handed on.
	BuilderCopies int `mapstructure:"builder_copies"`
	// Copies of volumes that the post-processor makes.
	Copies int `mapstructure:"copies"`
	// Lines for `amazon-ebs` that save copies; empty where there are none to save.
	BuilderLines string `mapstructure:"builder_lines"`
	// What was found, each with cause and next step, the graver first.
	Findings []string `mapstructure:"findings"`
	// How many of them are refusals.
	Refusals int `mapstructure:"refusals"`
	// How many of them are warnings.
	Warnings int `mapstructure:"warnings"`
	// The plan as text, with what it costs and what other choices would cost.
	Plan string `mapstructure:"plan"`
	// The targets as a list in JSON with their defaults filled in, for the post-processor's option of that name. External ids are in it.
	TargetsJSON string `mapstructure:"targets_json"`
}

// Volume is a volume of the AMI that will be built, in one Region.
type Volume struct {
	// The Region.
	Region string `mapstructure:"region"`
	// The device, such as `/dev/xvda`.
	Device string `mapstructure:"device"`
	// Its size in GiB.
	GiB int `mapstructure:"gib"`
	// Whether it will be encrypted.
	Encrypted bool `mapstructure:"encrypted"`
	// The ARN of the key that it will be under; empty where it is not encrypted, and where the key could not be looked at.
	KMSKeyARN string `mapstructure:"kms_key_arn"`
	// Whether it has to be copied in the source account before other accounts can use it.
	Staged bool `mapstructure:"staged"`
}

// output makes values of a plan.
func output(p plan.Plan, facts distribution.Facts, choices []plan.Alternative, build, targets string) Output {
	o := Output{PredictedEncrypted: true, Shareable: len(facts.Images) > 0, Reason: "nothing asks for encryption", BuilderCopies: p.Estimate.BuilderCopies, Copies: p.Estimate.Copies,
		Plan: report.Forecast(p, choices), TargetsJSON: targets, Findings: append([]string{}, report.Each(p.Findings)...), Volumes: []Volume{}}
	if base := facts.Base.Base; base != nil {
		o.SourceAMI = aws.ToString(base.ImageId)
	}
	keys := map[string]bool{}
	for _, image := range p.Images {
		for _, d := range image.Devices {
			o.Volumes = append(o.Volumes, Volume{image.Region, d.Device, int(d.GiB), d.Encrypted, d.KeyARN, d.Staged})
			o.PredictedEncrypted = o.PredictedEncrypted && d.Encrypted
			o.Shareable = o.Shareable && !d.Staged
			if image.Region == build {
				keys[d.KeyARN] = true
				o.PredictedKMSKeyARN = d.KeyARN
			}
		}
		if image.Region == build && len(image.Causes) > 0 {
			o.Reason = strings.Join(image.Causes, "; ")
		}
	}
	o.PredictedEncrypted = o.PredictedEncrypted && len(o.Volumes) > 0
	if len(keys) > 1 {
		o.PredictedKMSKeyARN = ""
	}
	for _, f := range p.Findings {
		switch f.Level {
		case distribution.Refused:
			o.Refusals++
		case distribution.Warning:
			o.Warnings++
		}
	}
	for _, c := range choices {
		if c.Builder {
			o.BuilderLines = strings.Join(c.How, "\n")
			break
		}
	}
	return o
}
