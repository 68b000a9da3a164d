// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

const codeVolumeRateUnused = "volume_rate_unused"

// copyMethod returns how a destination gets its copy, and why Auto has become ByImage. CopySnapshot reports errors
// and progress and takes a key for each device. So CopyImage is chosen only for what a registered image would lose.
func copyMethod(
	t distribution.Target, image ec2types.Image, from, region string, strict bool,
) (distribution.Method, string) {
	if t.Method == distribution.ByImage || t.Method == distribution.BySnapshot {
		return t.Method, ""
	}

	reasons, _ := reasonsForImageCopy(image, from, region)
	if strict {
		for _, a := range step.CarryTable {
			isKeptByCopyImage := a.How == distribution.Lost && a.By(distribution.ByImage) != distribution.Lost
			if isKeptByCopyImage && a.Text(image) != "" && a.Obstacle == nil {
				reasons = append(reasons, `on_attribute_loss = "fail", and `+a.Name+" would be lost")
			}
		}
	}

	if len(reasons) > 0 {
		return distribution.ByImage, strings.Join(reasons, "; ")
	}

	return distribution.BySnapshot, ""
}

// validateMethod returns findings about what a registered image cannot have, and what AWS does not copy to another
// account.
func (a *Assessment) validateMethod(d distribution.Destination) []distribution.Finding {
	image := a.facts.Images[d.FromRegion].Image
	if image == nil {
		return nil
	}

	var found []distribution.Finding
	add := func(f distribution.Finding) {
		f.Location, f.Resource = d.At, imageID(a.req, d.FromRegion)
		found = append(found, f)
	}

	if d.At.Account != a.facts.Source.Account && isFromMarketplace(*image) {
		add(distribution.Finding{
			Level:     distribution.Refused,
			Code:      distribution.CodeMarketplaceImage,
			Reference: "2.3.1",
			Field:     field(d.Target, "account_ids"),
			Summary:   "the image carries an AWS Marketplace product code",
			Detail:    "AWS does not allow copies of such AMIs in another account",
			Remediation: "subscribe in account " + d.At.Account + ", launch an instance from the image there, " +
				"and make an image of that (2.3.2)",
		})
	}

	if d.VolumeRate > 0 && d.Method == distribution.ByImage {
		add(distribution.Finding{
			Level:       distribution.Refused,
			Code:        codeVolumeRateUnused,
			Reference:   "9.10",
			Field:       field(d.Target, "volume_initialization_rate"),
			Summary:     "the volume initialization rate cannot be set",
			Detail:      "CopyImage keeps that of the source AMI; it is used because " + d.MethodWhy,
			Remediation: `leave out volume_initialization_rate, or set copy_method = "snapshot"`,
		})
	}

	for _, attribute := range step.CarryTable {
		if f, ok := regionalFinding(d, attribute, *image); ok {
			add(f)
			continue
		}

		if f, ok := registerFinding(d, attribute, *image); ok {
			add(f)
			continue
		}

		if a.req.Strict && attributeHandling(d, attribute) == distribution.Lost && attribute.Text(*image) != "" {
			add(distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeAttributeLost,
				Reference:   attribute.Rule,
				Field:       "on_attribute_loss",
				Summary:     attribute.Name + " would be lost",
				Detail:      attribute.Why,
				Remediation: lostAttributeRemedy(attribute, d.Method),
			})
		}
	}

	return found
}

// regionalFinding returns a finding if an attribute is valid in the source Region only.
func regionalFinding(d distribution.Destination, a step.Attribute, image ec2types.Image) (distribution.Finding, bool) {
	if !a.Regional || d.FromRegion == d.At.Region || a.Text(image) == "" {
		return distribution.Finding{}, false
	}

	value := a.Text(image) + " is of " + d.FromRegion
	f := distribution.Finding{
		Code:      distribution.CodeAttributeOfRegion,
		Reference: a.Rule,
		Field:     field(d.Target, "copy_method"),
	}
	switch d.Method {
	case distribution.BySnapshot:
		f.Level = distribution.Refused
		f.Summary = a.Name + " cannot be registered in " + d.At.Region
		f.Detail = value + ", and its id means nothing elsewhere"
		f.Remediation = `set copy_method = "image", or build the image in that Region`
	case distribution.ByImage:
		f.Level = distribution.Warning
		f.Summary = a.Name + " is mapped by AWS"
		f.Detail = value + "; CopyImage maps it to one of " + d.At.Region + ", or fails"
	default:
		return distribution.Finding{}, false
	}

	return f, true
}

// registerFinding returns a finding if RegisterImage cannot take the value of an attribute.
func registerFinding(d distribution.Destination, a step.Attribute, image ec2types.Image) (distribution.Finding, bool) {
	if d.Method != distribution.BySnapshot || a.Obstacle == nil || a.Obstacle(image) == "" {
		return distribution.Finding{}, false
	}

	f := distribution.Finding{Code: distribution.CodeTPMBootMode, Reference: a.Rule, Field: field(d.Target, "copy_method")}
	switch a.Name {
	case "TpmSupport":
		f.Level = distribution.Refused
		f.Summary = "the image's TPM support cannot be registered with its boot mode"
		f.Detail = a.Obstacle(image)
		f.Remediation = `set copy_method = "image", or build the image with boot mode uefi`
	case "UsageOperation":
		f.Level, f.Code = distribution.Warning, distribution.CodeBillingUncertain
		f.Summary = "the image's billing may be lost"
		f.Detail = a.Obstacle(image) + "; it comes from the snapshots, or it does not"
		f.Remediation = `the image is discarded if its billing is another than the source's; copy_method = "image" keeps it`
	default:
		return distribution.Finding{}, false
	}

	return f, true
}

// lostAttributeRemedy returns the next step for an attribute that must not be lost.
func lostAttributeRemedy(a step.Attribute, m distribution.Method) string {
	if m == distribution.BySnapshot && a.By(distribution.ByImage) != distribution.Lost {
		return `set copy_method = "image", or on_attribute_loss = "warn"`
	}
	if a.Name == "DeprecationTime" {
		return `set deprecate_at in the target, or on_attribute_loss = "warn"`
	}
	return `set on_attribute_loss = "warn"`
}
