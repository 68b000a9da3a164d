// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// deprecation is when an image of a run is deprecated, to the minute (9.21); zero: never.
func deprecationTime(l distribution.Lifecycle, now time.Time) time.Time {
	at := l.DeprecateAt
	if at.IsZero() && l.DeprecateAfter > 0 {
		at = now.Add(l.DeprecateAfter)
	}
	return at.UTC().Truncate(time.Minute)
}

// lifecycleTroubles are the reasons why a destination's image cannot be what its target wants.
func validateLifecycle(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	var found []distribution.Finding
	if at := deprecationTime(
		d.Lifecycle,
		facts.At,
	); !at.IsZero() &&
		(at.Before(facts.At) || at.After(facts.At.AddDate(10, 0, 0))) {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
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
			Reference:   "2.2.2",
			Field:       field(d.Target, "ami_users"),
			Location:    d.At,
			Resource:    key.ARN(),
			Summary:     "the image cannot be shared",
			Detail:      "AWS manages its key, and what it encrypts cannot be shared",
			Remediation: "set kms_key_id to a customer managed key of the target account",
		})
	}
	if image := facts.Images[d.FromRegion].Image; d.Lifecycle.FastLaunch != nil && image != nil &&
		image.Platform != ec2types.PlatformValuesWindows {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
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

// by says what becomes of an attribute at a destination.
func attributeHandling(d distribution.Destination, a step.Attribute) distribution.AttributeHandling {
	if a.Name == "DeprecationTime" && (!d.Lifecycle.DeprecateAt.IsZero() || d.Lifecycle.DeprecateAfter > 0) {
		return distribution.Set
	}
	return a.By(d.Method)
}

// settle makes a proved image what its target wants of it, before anything points at it.
func (b *builder) addImageSettings(g *destinationState) {
	head := func(kind string) step.Base {
		h := step.Base{
			ID:               step.NewID(kind, g.At.Account, g.At.Region),
			Location:         g.At,
			Destination:      g.At,
			DependsOn:        slices.Clone(g.proofs),
			ExpectedDuration: callTime,
		}
		if g.ami.From != "" {
			h.DependsOn = append(h.DependsOn, g.ami.From)
		}
		return h
	}
	var settled []distribution.StepID
	if at := deprecationTime(g.Lifecycle, b.facts.At); !at.IsZero() {
		settled = append(settled, b.add(&step.DeprecateImage{
			Base:  head("deprecate"),
			Image: g.ami,
			Name:  g.Name,
			After: at,
		}))
	}
	if p := g.Lifecycle.Protection; p != nil {
		settled = append(settled, b.add(&step.EnableDeregistrationProtection{
			Base:     head("lock"),
			Image:    g.ami,
			Name:     g.Name,
			Cooldown: p.Cooldown,
		}))
	}
	if f := g.Lifecycle.FastLaunch; f != nil {
		settled = append(settled, b.add(&step.EnableFastLaunch{
			Base:       head("fast-launch"),
			FastLaunch: *f,
			Image:      g.ami,
			Name:       g.Name,
		}))
	}
	if len(g.Licenses) > 0 {
		settled = append(settled, b.add(&step.AssociateLicenseConfigurations{
			Base:  head("licenses"),
			Image: g.ami,
			Name:  g.Name,
			ARNs:  g.Licenses,
		}))
	}
	if users := g.Lifecycle.Users.Without(distribution.LaunchPermissions{
		Accounts: []string{g.At.Account},
	}); !users.IsEmpty() {
		settled = append(settled, b.add(&step.ShareImage{Base: head("users"), Image: g.ami, With: users}))
	}
	g.proofs = append(g.proofs, settled...)
}
