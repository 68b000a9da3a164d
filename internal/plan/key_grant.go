// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

var notInGrantName = regexp.MustCompile(`[^a-zA-Z0-9:/_-]`)

// grants renders the grants of a target for an account.
func (r *renderer) grants(grants []distribution.Grant) []distribution.KeyGrant {
	var rendered []distribution.KeyGrant
	for _, g := range grants {
		grantee := g.Grantee
		if grantee == "" {
			grantee = distribution.AutoScaling
		}

		k := distribution.KeyGrant{
			Name:       r.text("kms_grant: name", g.Name),
			Grantee:    r.text("kms_grant: grantee_principal", grantee),
			Operations: g.Operations,
		}

		if k.Name == "" {
			k.Name = "encrypted-ami:" + notInGrantName.ReplaceAllString(k.Grantee[strings.LastIndex(k.Grantee, "/")+1:], "-")
		}

		if len(k.Operations) == 0 {
			k.Operations = distribution.LaunchOperations
		}

		rendered = append(rendered, k)
	}

	return rendered
}

// validateGrants returns findings for grants with the same name, because a run identifies a grant by its name.
func validateGrants(d distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	for i, k := range d.Grants {
		other := slices.IndexFunc(d.Grants[:i], func(o distribution.KeyGrant) bool { return o.Name == k.Name })
		if other >= 0 {
			found = append(found, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeGrantNameDuplicate,
				Field:       field(d.Target, "kms_grant: name"),
				Location:    d.At,
				Resource:    k.Grantee,
				Summary:     fmt.Sprintf("two grants have the name %q", k.Name),
				Detail:      "the other is for " + d.Grants[other].Grantee + ", and a run knows a grant by its name",
				Remediation: "give each kms_grant block its own name",
			})
		}
	}

	return append(found, limitFindings(d, distribution.Facts{}, grantValues(d))...)
}

// grant adds the grants on a destination's key. Existing grants are not created again (3.2.6), and no run revokes
// them.
func (b *builder) grant(g *destinationState) {
	for i, k := range g.Grants {
		g.verifications = append(g.verifications, b.add(&step.CreateGrant{
			Base: step.Base{
				ID:               step.NewID("grant", g.At.Account, g.At.Region, k.Name),
				Location:         g.At,
				Destination:      g.At,
				ExpectedDuration: callTime,
			},
			KeyARN:     g.keyARN,
			Name:       k.Name,
			Grantee:    k.Grantee,
			Operations: slices.Clone(g.Grants[i].Operations),
			Lasting:    true,
		}))
	}
}
