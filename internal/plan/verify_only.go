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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// keyExpiryWarning is how long before the expiry of key material verify warns.
const keyExpiryWarning = 30 * 24 * time.Hour

// Verify returns a plan without steps. Its findings are the differences from a successful run. Those of optional
// targets are warnings.
func (a *Assessment) Verify() Plan {
	// Which accounts and Regions have a copy, and what proves it?
	p := Plan{KeyAliases: keyAliases(a.facts), Images: a.uncopiedImages()}
	destinations, findings := a.Expand()
	p.find(validateRequest(a.req, destinations), findings, a.missingSources(), a.missingSourceWatermarks())

	// Is each copy as a successful run leaves it?
	for _, d := range destinations {
		if a.facts.Images[d.FromRegion].Image != nil {
			planned, differences := a.verifiedPlan(d)
			p.Destinations = append(p.Destinations, planned)
			p.find(differences)
		}
	}

	// What could not be seen?
	p.find(a.unseenDestinations(destinations))
	return p
}

// missingSources returns findings for source images that do not exist.
func (a *Assessment) missingSources() []distribution.Finding {
	var found []distribution.Finding
	for _, source := range a.req.Images {
		if a.facts.Images[source.Region].Image == nil {
			found = append(found, distribution.Finding{
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
	return found
}

// missingSourceWatermarks returns findings for source images without the watermarks of the template.
func (a *Assessment) missingSourceWatermarks() []distribution.Finding {
	var found []distribution.Finding
	for _, source := range a.req.Images {
		for _, key := range a.missingWatermarks[source.Region] {
			found = append(found, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeSettingChanged,
				Reference:   "9.17",
				Field:       "watermarks",
				Location:    distribution.Location{Account: a.facts.Source.Account, Region: source.Region},
				Resource:    source.ImageID,
				Summary:     source.ImageID + " does not have the watermark " + key,
				Detail:      removedOrNeverSet,
				Remediation: distributeAgain,
			})
		}
	}
	return found
}

// verifiedPlan returns the existing image of a destination, and how it differs from what a successful run leaves.
func (a *Assessment) verifiedPlan(d distribution.Destination) (DestinationPlan, []distribution.Finding) {
	planned, differences := a.destinationPlan(d, nil), a.verifyDestination(d)
	isRefused := func(f distribution.Finding) bool { return f.Level == distribution.Refused }
	if at := a.imageAt(d); at.use != nil {
		planned.ExistingImageID = aws.ToString(at.use.ImageId)
		planned.Passed = a.facts.RequiredLookupFailure(d.At) == nil && !slices.ContainsFunc(differences, isRefused)
	}

	for i, f := range differences {
		if d.Optional && isRefused(f) {
			differences[i].Level = distribution.Warning
		}
	}

	return planned, differences
}

// unseenDestinations returns a finding for each kind of lookup that failed. Without a destination at the location,
// there is no existing image to warn about.
func (a *Assessment) unseenDestinations(destinations []distribution.Destination) []distribution.Finding {
	found := unseenFindings(a.facts)
	for i := range found {
		f := &found[i]
		f.Summary = f.Operation + " was refused"
		if !slices.ContainsFunc(destinations, func(d distribution.Destination) bool { return d.At == f.Location }) {
			f.Level = distribution.Note
		}
	}
	return found
}

// removedOrNeverSet is the detail of findings about settings that an image does not have.
const removedOrNeverSet = "it was removed, or never set"

// distributeAgain is the next step where a run of mode = "verify" found something missing.
const distributeAgain = "distribute the AMI again: run the template that made the copies, with existing_amis"

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
			fmt.Sprintf("the AMI %q is missing", d.Name),
			a.missingImageDetail(d, at),
			a.creationRemedy(d),
		)

		return found
	}

	id := aws.ToString(at.use.ImageId)
	for _, missing := range a.missingSettings(d, *at.use) {
		differences(
			distribution.CodeSettingChanged,
			missing.rule,
			id,
			id+" does not have "+missing.setting,
			removedOrNeverSet,
			distributeAgain,
		)
	}

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

// missingSetting is a setting that an image does not have, and the rule of AWS about it.
type missingSetting struct{ rule, setting string }

// missingSettings returns the settings of a destination that its image does not have. It does not compare the time of
// deprecation, because a template may derive it from the time of the run.
func (a *Assessment) missingSettings(d distribution.Destination, image ec2types.Image) (missing []missingSetting) {
	if d.Lifecycle.Protection != nil && !step.IsProtected(image) {
		missing = append(missing, missingSetting{"A.2.1", "deregistration protection"})
	}

	for _, key := range newWatermarks(image, d.At.Account, d.Watermarks) {
		missing = append(missing, missingSetting{"9.17", "the watermark " + key})
	}

	existing, isKnown := a.facts.Earlier[d.At].LaunchPermissions[aws.ToString(image.ImageId)]
	owner := distribution.LaunchPermissions{Accounts: []string{d.At.Account}}
	users := d.Lifecycle.Users.Without(owner).Without(existing)
	for _, user := range slices.Concat(users.Accounts, users.Organizations, users.Units) {
		if isKnown {
			missing = append(missing, missingSetting{"2.2.4", "a launch permission for " + user})
		}
	}
	return missing
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
