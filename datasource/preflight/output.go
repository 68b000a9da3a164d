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

// Output is the result of a preflight.
type Output struct {
	// Whether every volume of the AMI will be encrypted, in every Region.
	Encrypted bool `mapstructure:"encrypted"`
	// The ARN of the key that encrypts all volumes in the Region of the build. Empty if there are several keys, or none.
	KMSKeyARN string `mapstructure:"kms_key_arn"`
	// Why the AMI will be encrypted, or that nothing asks for it.
	EncryptionReason string `mapstructure:"encryption_reason"`
	// Whether the AMI can be distributed without staged copies in the source account.
	Shareable bool `mapstructure:"shareable"`
	// The ID of the AMI that the build starts from.
	SourceAMI string `mapstructure:"source_ami"`
	// Each volume of the AMI in each Region. See [Volume](#volume).
	Volumes []Volume `mapstructure:"volumes"`
	// The number of full copies of volumes that the builder makes before the post-processor runs.
	BuilderCopyCount int `mapstructure:"builder_copy_count"`
	// The number of copies of volumes that the post-processor makes.
	CopyCount int `mapstructure:"copy_count"`
	// Options of `amazon-ebs` that save copies. Empty if there are none.
	AmazonEBSSuggestion string `mapstructure:"amazon_ebs_suggestion"`
	// What was found, each with cause and next step, errors first.
	Findings []string `mapstructure:"findings"`
	// The number of errors in `findings`.
	ErrorCount int `mapstructure:"error_count"`
	// The number of warnings in `findings`.
	WarningCount int `mapstructure:"warning_count"`
	// The plan as text, with what it costs and what other choices would cost.
	Plan string `mapstructure:"plan"`
	// The targets as a list in JSON with their defaults filled in, for the option of that name of the post-processor. It
	// contains external IDs.
	TargetsJSON string `mapstructure:"targets_json"`
}

// Volume is a volume of the AMI that will be built, in one Region.
type Volume struct {
	// The Region.
	Region string `mapstructure:"region"`
	// The device, such as `/dev/xvda`.
	DeviceName string `mapstructure:"device_name"`
	// The size in GiB.
	SizeGiB int `mapstructure:"size_gib"`
	// Whether it will be encrypted.
	Encrypted bool `mapstructure:"encrypted"`
	// The ARN of the key that encrypts it. Empty if it is not encrypted, or if the key could not be looked up.
	KMSKeyARN string `mapstructure:"kms_key_arn"`
	// Whether it must be copied in the source account before other accounts can use it.
	NeedsStagedCopy bool `mapstructure:"needs_staged_copy"`
}

// output returns the values of a plan.
func output(p plan.Plan, facts distribution.Facts, choices []plan.Alternative, build, targets string) Output {
	o := Output{
		Encrypted:        true,
		Shareable:        len(facts.Images) > 0,
		EncryptionReason: "nothing asks for encryption",
		BuilderCopyCount: p.Estimate.BuilderCopies,
		CopyCount:        p.Estimate.Copies,
		Plan:             report.Forecast(p, choices),
		TargetsJSON:      targets,
		Findings:         append([]string{}, report.Each(p.Findings)...),
		Volumes:          []Volume{},
	}
	if base := facts.Base.Base; base != nil {
		o.SourceAMI = aws.ToString(base.ImageId)
	}

	o.setVolumes(p.Images, build)

	for _, f := range p.Findings {
		switch f.Level {
		case distribution.Refused:
			o.ErrorCount++
		case distribution.Warning:
			o.WarningCount++
		}
	}

	for _, c := range choices {
		if c.Builder {
			o.AmazonEBSSuggestion = strings.Join(c.How, "\n")
			break
		}
	}

	return o
}

// setVolumes sets the values that describe the volumes of the images. Only the image in the Region of the build sets
// the key and the reason for encryption.
func (o *Output) setVolumes(images []plan.ImagePlan, build string) {
	keys := map[string]bool{}
	for _, image := range images {
		for _, d := range image.Devices {
			o.Volumes = append(o.Volumes, Volume{image.Region, d.Device, int(d.GiB), d.Encrypted, d.KeyARN, d.Staged})
			o.Encrypted = o.Encrypted && d.Encrypted
			o.Shareable = o.Shareable && !d.Staged
			if image.Region == build {
				keys[d.KeyARN] = true
				o.KMSKeyARN = d.KeyARN
			}
		}
		if image.Region == build && len(image.Causes) > 0 {
			o.EncryptionReason = strings.Join(image.Causes, "; ")
		}
	}
	o.Encrypted = o.Encrypted && len(o.Volumes) > 0
	if len(keys) > 1 {
		o.KMSKeyARN = ""
	}
}
