// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Grant lets a principal use a key (rule 8.3). Fields of type Text are templates.
type Grant struct {
	Name       Text     // "": made of the grantee's
	Grantee    Text     // ARN of a principal; "": the account's service-linked role of Auto Scaling
	Operations []string // sorted; empty: what a launch by Auto Scaling takes
}

// KeyGrant is a grant for one account: all templates rendered.
type KeyGrant struct {
	Name       string
	Grantee    string
	Operations []string // sorted
}

// AutoScaling is the service-linked role of Auto Scaling in an account.
const AutoScaling Text = "arn:{{ .Partition }}:iam::{{ .AccountId }}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"

// launchOperations are what a service-linked role needs on the key of what it launches (8.3), sorted.
var launchOperations = []string{"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo"}

// GrantOperations are those that a grant on a symmetric encryption key can allow, sorted.
var GrantOperations = []string{"CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext",
	"GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo", "RetireGrant"}

var notInGrantName = regexp.MustCompile(`[^a-zA-Z0-9:/_-]`)

// grants renders the grants of a target for an account.
func (r *renderer) grants(grants []Grant) []KeyGrant {
	var rendered []KeyGrant
	for _, g := range grants {
		grantee := g.Grantee
		if grantee == "" {
			grantee = AutoScaling
		}
		k := KeyGrant{Name: r.text("grant: name", g.Name), Grantee: r.text("grant: grantee_principal", grantee), Operations: g.Operations}
		if k.Name == "" {
			k.Name = "encrypted-ami:" + notInGrantName.ReplaceAllString(k.Grantee[strings.LastIndex(k.Grantee, "/")+1:], "-")
		}
		if len(k.Operations) == 0 {
			k.Operations = launchOperations
		}
		rendered = append(rendered, k)
	}
	return rendered
}

// grantTroubles are grants of an account that have one name: a run knows them by it.
func validateGrants(d Destination) []Finding {
	var found []Finding
	for i, k := range d.Grants {
		other := slices.IndexFunc(d.Grants[:i], func(o KeyGrant) bool { return o.Name == k.Name })
		if other >= 0 {
			found = append(found, Finding{Level: Refused, Field: field(d.Target, "grant: name"), Location: d.At, Resource: k.Grantee,
				Summary: fmt.Sprintf("two grants have the name %q", k.Name), Detail: "the other is for " + d.Grants[other].Grantee + ", and a run knows a grant by its name",
				Remediation: "give each grant block a name of its own"})
		}
	}
	return found
}

// grant lets principals use a destination's key. What stands already is not made twice (3.2.6), and no run takes any of it back.
func (b *builder) grant(g *destinationState) {
	for i, k := range g.Grants {
		g.proofs = append(g.proofs, b.add(&CreateGrant{
			Base:       Base{ID: id("grant", g.At.Account, g.At.Region, k.Name), Location: g.At, Destination: g.At, ExpectedDuration: callTime},
			KeyARN:     g.keyARN,
			Name:       k.Name,
			Grantee:    k.Grantee,
			Operations: slices.Clone(g.Grants[i].Operations),
			Lasting:    true,
		}))
	}
}
