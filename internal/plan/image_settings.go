// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deprecationTime returns when an image is deprecated, to the minute (9.21). Zero if it is not.
func deprecationTime(l distribution.Lifecycle) time.Time {
	return l.DeprecateAt.UTC().Truncate(time.Minute)
}

// codeLicenseInvalid is the code of findings about license_configuration_arns.
const codeLicenseInvalid = "license_configuration_invalid"

// validateImageSettings returns findings for settings that the image of a destination cannot have.
func validateImageSettings(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	return slices.Concat(validateLifecycle(d, facts), validateLicenses(d))
}

func validateLifecycle(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	var found []distribution.Finding
	at := deprecationTime(d.Lifecycle)
	if !at.IsZero() && !isValidDeprecation(at, facts.At) {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeDeprecationTimeInvalid,
			Reference:   "9.21",
			Field:       field(d.Target, "deprecate_at"),
			Location:    d.At,
			Summary:     "the image cannot be deprecated at " + at.Format(time.RFC3339),
			Detail:      "AWS takes dates in the future, at most ten years ahead",
			Remediation: "set another date",
		})
	}

	key := facts.Keys[d.At][DestinationKey(d, facts)]
	if !d.Lifecycle.Users.IsEmpty() && key.IsManagedByAWS() {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeAWSManagedKeyShare,
			Reference:   "2.2.2",
			Field:       field(d.Target, "ami_users"),
			Location:    d.At,
			Resource:    key.ARN(),
			Summary:     "the image cannot be shared",
			Detail:      "AWS manages its key, and what it encrypts cannot be shared",
			Remediation: "set kms_key_id to a customer managed key of the target account",
		})
	}

	image := facts.Images[d.FromRegion].Image
	if d.Lifecycle.FastLaunch != nil && image != nil && image.Platform != ec2types.PlatformValuesWindows {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeFastLaunchNotWindows,
			Reference:   "9.0",
			Field:       field(d.Target, "fast_launch"),
			Location:    d.At,
			Resource:    aws.ToString(image.ImageId),
			Summary:     "fast launch cannot be enabled",
			Detail:      "it is for Windows images alone, and this is none",
			Remediation: "leave out fast_launch",
		})
	}

	return found
}

// licenseARNs returns the license configurations of a destination, sorted.
func licenseARNs(d distribution.Destination) []string {
	arns := make([]string, len(d.Licenses))
	for i, arn := range d.Licenses {
		arns[i] = string(arn)
	}
	return distribution.Union(arns, nil)
}

// validateLicenses returns findings for license configurations that a destination cannot use.
func validateLicenses(d distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	for _, arn := range licenseARNs(d) {
		f := distribution.Finding{
			Level:       distribution.Refused,
			Code:        codeLicenseInvalid,
			Reference:   "9.0",
			Field:       field(d.Target, "license_configuration_arns"),
			Location:    d.At,
			Resource:    arn,
			Remediation: "name one of " + d.At.Region + ", by {{ .Region }} where they differ by nothing else",
		}

		switch region := awslimits.Match(awslimits.LicenseARN, arn); {
		case region == nil:
			f.Summary = fmt.Sprintf("%q is not the ARN of a license configuration", arn)
			f.Detail = "it is not like arn:aws:license-manager:" + d.At.Region + ":" + d.At.Account +
				":license-configuration:lic-0123456789abcdef0123456789abcdef"
		case region[1] != d.At.Region:
			f.Summary = "the license configuration is of another Region"
			f.Detail = arn + " is not in " + d.At.Region
		default:
			continue
		}

		found = append(found, f)
	}

	return found
}

// isValidDeprecation reports whether AWS accepts a deprecation time: in the future, at most ten years ahead.
func isValidDeprecation(at, now time.Time) bool {
	return awslimits.CheckTime(awslimits.DeprecationTime, at, now) == nil
}

// attributeHandling returns the handling of an attribute at a destination.
func attributeHandling(d distribution.Destination, a step.Attribute) distribution.AttributeHandling {
	if a.Name == "DeprecationTime" && !d.Lifecycle.DeprecateAt.IsZero() {
		return distribution.Set
	}
	return a.By(d.Method)
}

// existingPermissions returns who may launch the image of a destination that an earlier run created.
func (b *builder) existingPermissions(g *destinationState) distribution.LaunchPermissions {
	if g.image == nil {
		return distribution.LaunchPermissions{}
	}
	return b.facts.Earlier[g.At].LaunchPermissions[aws.ToString(g.image.ImageId)]
}

// imageSetting is a step that changes an image, unless the image matches already.
type imageSetting interface {
	step.Step
	Matches(image ec2types.Image) bool
}

// addImageSettings adds the steps that apply the lifecycle settings to a verified image. They run before it is
// published.
func (b *builder) addImageSettings(g *destinationState) {
	base := func(kind string) step.Base {
		settings := step.Base{
			ID:               step.NewID(kind, g.At.Account, g.At.Region),
			Location:         g.At,
			Destination:      g.At,
			DependsOn:        slices.Clone(g.verifications),
			ExpectedDuration: callTime,
		}
		if g.imageRef.From != "" {
			settings.DependsOn = append(settings.DependsOn, g.imageRef.From)
		}
		return settings
	}

	var ids []distribution.StepID
	add := func(s imageSetting) {
		if g.image == nil || !s.Matches(*g.image) { // so that a repeated run changes nothing
			ids = append(ids, b.add(s))
		}
	}
	if at := deprecationTime(g.Lifecycle); !at.IsZero() {
		add(&step.DeprecateImage{
			Base:  base("deprecate"),
			Image: g.imageRef,
			Name:  g.Name,
			After: at,
		})
	}

	if p := g.Lifecycle.Protection; p != nil {
		add(&step.EnableDeregistrationProtection{
			Base:     base("lock"),
			Image:    g.imageRef,
			Name:     g.Name,
			Cooldown: p.Cooldown,
		})
	}

	if f := g.Lifecycle.FastLaunch; f != nil {
		ids = append(ids, b.add(&step.EnableFastLaunch{
			Base:       base("fast-launch"),
			FastLaunch: *f,
			Image:      g.imageRef,
			Name:       g.Name,
		}))
	}

	if arns := licenseARNs(g.Destination); len(arns) > 0 {
		ids = append(ids, b.add(&step.AssociateLicenseConfigurations{
			Base:  base("licenses"),
			Image: g.imageRef,
			Name:  g.Name,
			ARNs:  arns,
		}))
	}

	if names := g.Watermarks; len(names) > 0 {
		add(&step.AttachImageWatermarks{
			Base:  base("watermark"),
			Image: g.imageRef,
			Name:  g.Name,
			Names: names,
		})
	}

	owner := distribution.LaunchPermissions{Accounts: []string{g.At.Account}}
	if users := g.Lifecycle.Users.Without(owner).Without(b.existingPermissions(g)); !users.IsEmpty() {
		ids = append(ids, b.add(&step.ShareImage{Base: base("users"), Image: g.imageRef, With: users}))
	}

	g.verifications = append(g.verifications, ids...)
}
