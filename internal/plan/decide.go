// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Decide returns the plan. A refused plan has findings and no steps.
func (a *Assessment) Decide() Plan {
	if a.req.Move != "" {
		return a.decideMove()
	}

	// Which accounts and Regions get a copy, and which of them can?
	p := Plan{KeyAliases: keyAliases(a.facts)}
	destinations, findings := a.Expand()
	for i := range destinations {
		destinations[i].Optional = destinations[i].Optional || skipsMissingRole(destinations[i], a.facts)
	}
	p.find(validateRequest(a.req, destinations), findings, a.validateSources())
	open, findings := a.openDestinations(destinations)
	p.find(findings)

	// What is shared or staged for them, and where?
	sources, findings := a.route(destinations, open)
	p.find(findings)
	p.Images = a.imagePlans(sources, open)
	p.Destinations = a.destinationPlans(destinations, open, sources)
	granters, findings := a.Sharers()
	p.find(findings, validateSharers(a.facts, granters, destinations, sources), a.validateSharePublications(sources))
	p.find(a.allowedImagesFindings(granters, sources))
	p.Shares = a.sharePlans(sources, granters)
	p.find(validateGrantCount(a.req, sources), unseenFindings(a.facts))
	if p.Refused() {
		p.find(a.leftoverFindings(destinations, sources))
		return p
	}

	// How long will it take, and what will it change for others?
	p.Routes = a.regionRoutes(destinations)
	p.find(
		validateDurations(a.facts, open),
		a.permanentShareFindings(),
		a.retentionFindings(open),
		launchFindings(a.facts, sources, granters),
	)

	// Which steps do it, and what do they cost?
	p.Steps, findings = a.buildSteps(destinations, open, sources)
	p.find(findings, queueFindings(p.Steps))
	p.Estimate, p.Keys = estimate(p.Steps), a.facts.SigningKeys()
	p.Estimate.BuilderCopies = a.builderCopies()
	return p
}

// validateSources returns findings for source images that cannot be shared or copied, or will not be created.
func (a *Assessment) validateSources() []distribution.Finding {
	var found []distribution.Finding
	if a.req.Intent != nil {
		_, found = a.Predict()
	}
	for _, source := range a.req.Images {
		if call := unansweredImage(source, a.facts); call != nil {
			f := call.Finding(distribution.Location{Account: a.facts.Source.Account, Region: source.Region})
			f.Resource = source.ImageID
			found = append(found, f)
			continue
		}
		if image := a.facts.Images[source.Region]; a.req.Intent == nil || image.Image != nil {
			found = append(found, validateImage(source, image, a.facts.Source.Account, a.req.Targets)...)
			found = append(found, a.sourceWatermarkFindings(source.Region)...)
		}
	}
	return found
}

// openDestinations returns the destinations that no finding excludes. The error of an excluded destination becomes a
// warning if its target is optional. The same holds for the others, if at most max_failed_destinations of them are
// excluded. The run then continues with the remaining destinations.
func (a *Assessment) openDestinations(
	destinations []distribution.Destination,
) (open []distribution.Destination, findings []distribution.Finding) {
	isTolerated := a.req.MaxFailedDestinations
	type refusal struct {
		optional            bool
		isUnanswered        bool // AWS did not answer, which says nothing about the other destinations
		destinationFindings []distribution.Finding
	}
	var refused []refusal
	for _, d := range destinations {
		destinationFindings := a.validateDestination(d)
		if !slices.ContainsFunc(
			destinationFindings,
			func(f distribution.Finding) bool { return f.Level == distribution.Refused },
		) {
			open, findings = append(open, d), append(findings, destinationFindings...)
			continue
		}
		isUnanswered := destinationFindings[0].Code == distribution.CodeUnanswered
		refused = append(refused, refusal{d.Optional, isUnanswered, destinationFindings})
		if !d.Optional {
			isTolerated--
		}
	}

	if len(open) == 0 {
		findings = append(findings, a.allSkippedFindings(destinations)...)
	}
	for _, r := range refused {
		for _, f := range r.destinationFindings {
			if len(open) > 0 && (r.optional || r.isUnanswered || isTolerated >= 0) {
				f.Level = distribution.Warning
			}
			findings = append(findings, f)
		}
	}

	return open, findings
}

// allSkippedFindings returns a finding if on_missing_role excludes every destination, which is an error.
func (a *Assessment) allSkippedFindings(destinations []distribution.Destination) []distribution.Finding {
	isOther := func(d distribution.Destination) bool { return !skipsMissingRole(d, a.facts) }
	if len(destinations) == 0 || slices.ContainsFunc(destinations, isOther) {
		return nil
	}
	return []distribution.Finding{{
		Level:       distribution.Refused,
		Code:        distribution.CodeDestinationMissing,
		Field:       "on_missing_role",
		Summary:     "on_missing_role skips every account",
		Detail:      "the role of no account can be assumed, so there is no destination",
		Remediation: "correct assume_role, or create the role in at least one account",
	}}
}

// CleanUp returns the plan that deletes what earlier runs of this image left unfinished. Completed copies stay.
// Resources without proof are only reported. A destination that cannot be used does not stop the clean-up of the
// others.
func (a *Assessment) CleanUp() Plan {
	// Which accounts and Regions can be used?
	p := Plan{KeyAliases: keyAliases(a.facts), Images: a.uncopiedImages()}
	destinations, findings := a.Expand()
	p.find(validateRequest(a.req, destinations), findings)
	open, findings := a.reachableDestinations(destinations)
	p.find(findings, unseenFindings(a.facts))
	if p.Refused() {
		return p
	}

	// What would this run share or stage? Of that, nothing is unused.
	sources, _ := a.route(destinations, open)

	// Which steps delete the rest?
	p.Steps, findings = a.cleanUpSteps(destinations, sources)
	p.find(findings)
	p.Estimate, p.Keys = estimate(p.Steps), a.facts.SigningKeys()
	return p
}

// uncopiedImages returns the source AMIs of a plan that copies none of them.
func (a *Assessment) uncopiedImages() []ImagePlan {
	var images []ImagePlan
	for _, source := range a.req.Images {
		images = append(images, imagePlan(source, a.facts, nil, nil))
	}
	return images
}

// reachableDestinations returns the destinations that a clean-up can use, and warnings about the others. A destination
// without a source image has nothing to clean up.
func (a *Assessment) reachableDestinations(
	destinations []distribution.Destination,
) (open []distribution.Destination, findings []distribution.Finding) {
	for _, d := range destinations {
		if f := unreachableReason(d, a.facts); f != nil {
			f.Level = distribution.Warning
			findings = append(findings, *f)
			continue
		}
		if a.facts.Images[d.FromRegion].Image != nil {
			open = append(open, d)
		}
	}
	return open, findings
}

// validateRequest returns findings for missing options. It runs here and not in package config, because a list with
// unknown elements is empty when the template is read.
func validateRequest(req distribution.Request, destinations []distribution.Destination) []distribution.Finding {
	var found []distribution.Finding
	if len(req.Images) == 0 {
		found = append(
			found,
			distribution.Finding{
				Level:   distribution.Refused,
				Code:    distribution.CodeSourceAMIMissing,
				Summary: "there is no AMI to distribute",
				Detail:  "the artifact names none",
			},
		)
	}

	if req.PublishAll && !req.Publishes() {
		found = append(
			found,
			distribution.Finding{
				Level:       distribution.Warning,
				Code:        distribution.CodePublishWithoutEffect,
				Field:       "publish",
				Summary:     `publish = "all" has no effect`,
				Detail:      "no target has " + distribution.PublishOptions,
				Remediation: "leave it out",
			},
		)
	}

	if len(destinations)+len(req.Shares) == 0 {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeDestinationMissing,
			Field:       "target",
			Summary:     "there is no destination",
			Detail:      "no target block names an account, and there is no share block",
			Remediation: "add a target block with account_ids",
		})
	}

	return found
}

// unseenFindings returns a finding for each kind of lookup that failed. Lookups that a destination requires are
// reported with the destination.
func unseenFindings(facts distribution.Facts) []distribution.Finding {
	var found []distribution.Finding
	for _, unseen := range facts.Unseen {
		if unseen.Vital && unseen.At.Account != facts.Source.Account {
			continue
		}
		f := failedLookupFinding(unseen)
		if unseen.Vital && !facts.NeedsLookup(unseen.At) { // copies do not pass through this location
			f.Level = distribution.Warning
		}
		if f.Level == distribution.Warning && unseen.Vital && !unseen.Refusal.Unanswered {
			f.Summary = unseen.Refusal.Operation + " was refused, and nothing is staged in " + unseen.At.Region
		}
		if !slices.ContainsFunc(found, func(o distribution.Finding) bool {
			return o.Location == f.Location && o.Operation == f.Operation && o.Level == f.Level
		}) {
			found = append(found, f)
		}
	}

	return found
}

func failedLookupFinding(u distribution.FailedLookup) distribution.Finding {
	f := distribution.Finding{
		Level:     distribution.Warning,
		Code:      distribution.CodeLookupDenied,
		Location:  u.At,
		Operation: u.Refusal.Operation,
		Resource:  u.Resource,
		Detail:    u.Refusal.Error(),
		Summary:   u.Refusal.Operation + " was denied, and the plan does without it",
	}
	if u.Vital {
		f.Level, f.Summary = distribution.Refused, u.Refusal.Operation+" was denied, and nothing can be done without it"
	}
	if u.Refusal.Unanswered {
		level := f.Level
		f = u.Refusal.Finding(u.At)
		f.Level, f.Resource = level, u.Resource
	}
	return f
}
