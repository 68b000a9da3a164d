// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// methodOf is how a destination gets its copy, and why it is not the target's plain wish for snapshots. CopySnapshot
// tells exactly what is wrong, shows progress and takes a key for each device, so CopyImage is chosen only for what a
// registered image would lose.
func copyMethod(
	t distribution.Target,
	image ec2types.Image,
	from, region string,
	strict bool,
) (distribution.Method, string) {
	if t.Method == distribution.ByImage || t.Method == distribution.BySnapshot {
		return t.Method, ""
	}
	why, _ := reasonsForImageCopy(image, from, region)
	if strict {
		for _, a := range step.CarryTable {
			if a.How == distribution.Lost && a.By(distribution.ByImage) != distribution.Lost && a.Text(image) != "" &&
				a.Weighs == nil {
				why = append(why, "fidelity is strict, and "+a.Name+" would be lost")
			}
		}
	}
	if len(why) > 0 {
		return distribution.ByImage, strings.Join(why, "; ")
	}
	return distribution.BySnapshot, ""
}

// methodTroubles are what stands against a destination's method: what a registered image cannot be, and what AWS lets
// nobody copy to another account.
func validateMethod(
	req distribution.Request,
	d distribution.Destination,
	facts distribution.Facts,
) []distribution.Finding {
	image := facts.Images[d.FromRegion]
	if image.Image == nil {
		return nil
	}
	finding := func(level distribution.Level, rule, option, summary, because, next string) distribution.Finding {
		return distribution.Finding{
			Level:       level,
			Reference:   rule,
			Field:       option,
			Location:    d.At,
			Resource:    imageID(req, d.FromRegion),
			Summary:     summary,
			Detail:      because,
			Remediation: next,
		}
	}
	var found []distribution.Finding
	if d.At.Account != facts.Source.Account && marketplace(*image.Image) {
		found = append(
			found,
			finding(
				distribution.Refused,
				"2.3.1",
				field(d.Target, "account_ids"),
				"the image carries an AWS Marketplace product code",
				"AWS does not let such images be copied to another account",
				"subscribe in account "+d.At.Account+", launch an instance from the image there, and make an image of that (2.3.2)",
			),
		)
	}
	abroad := d.FromRegion != d.At.Region
	for _, a := range step.CarryTable {
		option := field(d.Target, "method")
		switch {
		case d.Method == distribution.BySnapshot && a.Regional && abroad && a.Text(*image.Image) != "":
			found = append(
				found,
				finding(
					distribution.Refused,
					a.Rule,
					option,
					a.Name+" cannot be registered in "+d.At.Region,
					a.Text(*image.Image)+" is of "+d.FromRegion+", and its id means nothing elsewhere",
					`set method = "image", or build the image in that Region`,
				),
			)
		case d.Method == distribution.ByImage && a.Regional && abroad && a.Text(*image.Image) != "":
			found = append(
				found,
				finding(
					distribution.Warning,
					a.Rule,
					option,
					a.Name+" is mapped by AWS",
					a.Text(*image.Image)+" is of "+d.FromRegion+"; CopyImage maps it to one of "+d.At.Region+", or fails",
					"",
				),
			)
		case d.Method == distribution.BySnapshot && a.Name == "TpmSupport" && a.Weighs(*image.Image) != "":
			found = append(found, finding(distribution.Refused, a.Rule, option, "the image's TPM support cannot be "+
				"registered with its boot mode", a.Weighs(*image.Image),
				`set method = "image", or build the image with boot mode uefi`))
		case d.Method == distribution.BySnapshot && a.Name == "UsageOperation" && a.Weighs(*image.Image) != "":
			found = append(
				found,
				finding(
					distribution.Warning,
					a.Rule,
					option,
					"the image's billing may be lost",
					a.Weighs(*image.Image)+"; it comes from the snapshots, or it does not",
					`the image is discarded if its billing is another than the source's; method = "image" keeps it`,
				),
			)
		case req.Strict && attributeHandling(d, a) == distribution.Lost && a.Text(*image.Image) != "":
			found = append(
				found,
				finding(distribution.Refused, a.Rule, "fidelity", a.Name+" would be lost", a.Why, remedy(a, d.Method)),
			)
		}
	}
	return found
}

// remedy is what to do where nothing may be lost.
func remedy(a step.Attribute, m distribution.Method) string {
	if m == distribution.BySnapshot && a.By(distribution.ByImage) != distribution.Lost {
		return `set method = "image", or fidelity = "report"`
	}
	if a.Name == "DeprecationTime" {
		return `set deprecate_at or deprecate_after in the target, or fidelity = "report"`
	}
	return `set fidelity = "report"`
}
