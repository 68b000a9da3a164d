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
func Verify(req distribution.Request, facts distribution.Facts) Plan {
	p := Plan{KeyAliases: keyAliases(facts)}
	destinations, findings := Expand(req, facts)
	p.Findings = append(validateRequest(req, destinations), findings...)
	for _, source := range req.Images {
		if facts.Images[source.Region].Image == nil {
			p.Findings = append(p.Findings, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeSourceAMIMissing,
				Reference:   "2.2.12",
				Location:    distribution.Location{Account: facts.Source.Account, Region: source.Region},
				Resource:    source.ImageID,
				Summary:     source.ImageID + " is not there",
				Detail:      "a tag of the source AMI proves what runs created",
				Remediation: "name an image that is there",
			})
		}
	}

	for _, d := range destinations {
		if facts.Images[d.FromRegion].Image == nil {
			continue
		}

		planned, differences := destinationPlan(req, d, facts, nil), verifyDestination(req, facts, d)
		if at := imageAt(req, facts, d); at.use != nil {
			planned.Stands = aws.ToString(at.use.ImageId)
			planned.Sound = facts.RequiredLookupFailure(d.At) == nil &&
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

	for _, f := range unseenFindings(facts) {
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
func verifyDestination(
	req distribution.Request,
	facts distribution.Facts,
	d distribution.Destination,
) []distribution.Finding {
	found := verifyImage(req, facts, d)
	image := imageAt(req, facts, d).use
	if image == nil || unreachableReason(d, facts) != nil || facts.RequiredLookupFailure(d.At) != nil {
		return found
	}

	id := aws.ToString(image.ImageId)
	publication := newPublication(req, facts, d)
	for _, target := range publishTargets(d.PublishTargets) {
		pointer := target.pointer(publication)
		if pointer.Set || req.Hold {
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
func verifyImage(
	req distribution.Request,
	facts distribution.Facts,
	d distribution.Destination,
) []distribution.Finding {
	found := validateDestination(req, d, facts)
	if unreachableReason(d, facts) != nil || facts.RequiredLookupFailure(d.At) != nil ||
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

	if m := facts.Keys[d.At][DestinationKey(d, facts)].Metadata; m != nil && m.ValidTo != nil &&
		m.ValidTo.Sub(facts.At) < keyExpiryWarning {
		differences(
			distribution.CodeKeyMaterialExpires,
			"3.5.1",
			aws.ToString(m.Arn),
			"the key's material expires at "+m.ValidTo.UTC().Format(time.RFC3339),
			"from then on nothing that it encrypts can be launched",
			"import it again with a later date, or none",
		)
	}

	at := imageAt(req, facts, d)
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
			missingImageDetail(req, d, facts, at),
			creationRemedy(req, d, facts),
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
func creationRemedy(req distribution.Request, d distribution.Destination, facts distribution.Facts) string {
	for _, f := range validateName(req, d, facts) {
		if f.Level == distribution.Refused {
			return f.Remediation
		}
	}
	return distributeAgain
}

// missingImageDetail returns why a destination has no usable image.
func missingImageDetail(
	req distribution.Request,
	d distribution.Destination,
	facts distribution.Facts,
	at existingImages,
) string {
	var detail []string
	for _, image := range at.unfinished {
		detail = append(detail, aws.ToString(image.ImageId)+" was never finished")
	}

	for _, image := range at.changed {
		detail = append(
			detail,
			aws.ToString(image.ImageId)+" does not match the plan: "+strings.Join(imageDifferences(req, facts, d, image), "; "),
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
