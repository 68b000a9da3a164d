// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// keyExpiryWarning is how long before the expiry of key material verify warns.
const keyExpiryWarning = 30 * 24 * time.Hour

// Verify returns a plan without steps. Its findings are the differences from a successful run. Those of optional
// targets are warnings.
func (a *Assessment) Verify() Plan {
	p := Plan{KeyAliases: keyAliases(a.facts)}
	destinations, findings := a.Expand()
	p.Findings = append(validateRequest(a.req, destinations), findings...)
	for _, source := range a.req.Images {
		if a.facts.Images[source.Region].Image == nil {
			p.Findings = append(p.Findings, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeSourceAMIMissing,
				Reference:   "2.2.12",
				Location:    distribution.Location{Account: a.facts.Source.Account, Region: source.Region},
				Resource:    source.ImageID,
				Summary:     source.ImageID + " is not there",
				Detail:      "a tag of the source AMI proves what runs created",
				Remediation: "name an image that is there",
			})
		}
	}

	for _, d := range destinations {
		if a.facts.Images[d.FromRegion].Image == nil {
			continue
		}

		planned, differences := a.destinationPlan(d, nil), a.verifyDestination(d)
		if at := a.imageAt(d); at.use != nil {
			planned.Stands = aws.ToString(at.use.ImageId)
			planned.Sound = a.facts.RequiredLookupFailure(d.At) == nil &&
				!slices.ContainsFunc(differences, func(f distribution.Finding) bool { return f.Level == distribution.Refused })
		}

		p.Destinations = append(p.Destinations, planned)
		for _, f := range differences {
			if d.Optional && f.Level == distribution.Refused {
				f.Level = distribution.Warning
			}
			p.Findings = append(p.Findings, f)
		}
	}

	for _, f := range unseenFindings(a.facts) {
		f.Summary = f.Operation + " was refused"
		if !slices.ContainsFunc(destinations, func(d distribution.Destination) bool { return d.At == f.Location }) {
			f.Level = distribution.Note // there is no existing image to warn about
		}
		p.Findings = append(p.Findings, f)
	}

	return p
}

// distributeAgain is the next step where a run of mode = "verify" found something missing.
const distributeAgain = `run again without mode = "verify"`

// verifyDestination returns findings about a destination's key, image and published references.
func (a *Assessment) verifyDestination(d distribution.Destination) []distribution.Finding {
	found := a.verifyImage(d)
	image := a.imageAt(d).use
	if image == nil || unreachableReason(d, a.facts) != nil || a.facts.RequiredLookupFailure(d.At) != nil {
		return found
	}

	id := aws.ToString(image.ImageId)
	publication := a.newPublication(d)
	for _, target := range publishTargets(d.PublishTargets) {
		pointer := target.pointer(publication)
		if pointer.Set || a.req.Hold {
			continue
		}
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodePublicationChanged,
			Reference:   target.reference(),
			Field:       field(d.Target, "mode"),
			Location:    d.At,
			Resource:    id,
			Summary:     "the " + pointer.String() + " does not name " + id,
			Detail:      "it was changed, or never set",
			Remediation: distributeAgain,
		})
	}

	return found
}

// verifyImage returns findings about a destination's key and image.
func (a *Assessment) verifyImage(d distribution.Destination) []distribution.Finding {
	found := a.validateDestination(d)
	if unreachableReason(d, a.facts) != nil || a.facts.RequiredLookupFailure(d.At) != nil ||
		slices.ContainsFunc(found, func(f distribution.Finding) bool { return f.Field == field(d.Target, "assume_role") }) {
		return found
	}

	differences := func(code, rule, resource, summary, detail, remediation string) {
		found = append(
			found,
			distribution.Finding{
				Level:       distribution.Refused,
				Code:        code,
				Reference:   rule,
				Field:       field(d.Target, "mode"),
				Location:    d.At,
				Resource:    resource,
				Summary:     summary,
				Detail:      detail,
				Remediation: remediation,
			},
		)
	}

	if m := a.facts.Keys[d.At][DestinationKey(d, a.facts)].Metadata; m != nil && m.ValidTo != nil &&
		m.ValidTo.Sub(a.facts.At) < keyExpiryWarning {
		differences(
			distribution.CodeKeyMaterialExpires,
			"3.5.1",
			aws.ToString(m.Arn),
			"the key's material expires at "+m.ValidTo.UTC().Format(time.RFC3339),
			"from then on nothing that it encrypts can be launched",
			"import it again with a later date, or none",
		)
	}

	at := a.imageAt(d)
	if at.use == nil {
		for _, image := range at.changed { // another finding may already name it
			found = slices.DeleteFunc(
				found,
				func(f distribution.Finding) bool { return f.Resource == aws.ToString(image.ImageId) },
			)
		}

		differences(
			distribution.CodeCopyMissing,
			"2.1.8",
			"",
			fmt.Sprintf("there is no image %q", d.Name),
			a.missingImageDetail(d, at),
			a.creationRemedy(d),
		)

		return found
	}

	id := aws.ToString(at.use.ImageId)
	if at.use.State != ec2types.ImageStateAvailable {
		differences(
			distribution.CodeAMIUnavailable,
			"4.5.4",
			id,
			id+" cannot be launched",
			"its state is "+string(at.use.State),
			"enable it",
		)
	}

	return found
}

// creationRemedy returns how a destination gets its missing image. A run creates it, unless another image has the
// name.
func (a *Assessment) creationRemedy(d distribution.Destination) string {
	for _, f := range a.validateName(d) {
		if f.Level == distribution.Refused {
			return f.Remediation
		}
	}
	return distributeAgain
}

// missingImageDetail returns why a destination has no usable image.
func (a *Assessment) missingImageDetail(d distribution.Destination, at existingImages) string {
	var detail []string
	for _, image := range at.unfinished {
		detail = append(detail, aws.ToString(image.ImageId)+" was never finished")
	}

	for _, image := range at.changed {
		detail = append(
			detail,
			aws.ToString(image.ImageId)+" does not match the plan: "+strings.Join(a.imageDifferences(d, image), "; "),
		)
	}

	for _, image := range at.unproven {
		detail = append(detail, aws.ToString(image.ImageId)+" has our tags, but no valid signature")
	}

	if at.pending != nil {
		detail = append(detail, aws.ToString(at.pending.ImageId)+" is still being copied")
	}

	if len(detail) == 0 {
		return "account " + d.At.Account + " has no verified copy of the source AMI"
	}

	return strings.Join(detail, "; ")
}
