// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"cmp"
	"maps"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// ExplainFindings adds the cause, the next step and the policy statements to findings that a failed lookup caused. It
// does not change their level, field, location and summary.
func ExplainFindings(findings []distribution.Finding, facts distribution.Facts) []distribution.Finding {
	findings = slices.Clone(findings)
	for i, f := range findings {
		lookup, found := findFailedLookup(f, facts)
		if !found {
			continue
		}
		explained := Explain(lookup)
		explained.Level = f.Level
		explained.Field = f.Field
		explained.Location = f.Location
		if !replacedSummaries[f.Code] {
			explained.Summary = f.Summary + ": " + explained.Summary
		}
		findings[i] = explained
	}
	return findings
}

// replacedSummaries are the codes of findings whose summary says less than the explanation of the error.
var replacedSummaries = map[string]bool{
	"launch_template_not_found":  true,
	"launch_template_unreadable": true,
	"parameter_unreadable":       true,
}

// findFailedLookup returns the lookup at the finding's location whose error is the finding's detail.
func findFailedLookup(f distribution.Finding, facts distribution.Facts) (Case, bool) {
	site := facts.Sites[f.Location]
	caller := site.Identity.ARN
	if f.Location.Account == facts.Source.Account {
		caller = facts.Source.ARN
	}

	lookups := failedLookups(f, facts)
	for _, resource := range slices.Sorted(maps.Keys(lookups)) {
		err := lookups[resource]
		if err == nil || !canBeDiagnosed(err) || err.Error() != f.Detail {
			continue
		}
		return Case{
			Refusal:       *err,
			At:            f.Location,
			Principal:     caller,
			Resource:      resource,
			SourceAccount: facts.Source.Account,
			ExternalID:    site.ExternalID,
			WorkedIn:      site.WorkedIn,
		}, true
	}
	return Case{}, false
}

// failedLookups returns the errors of the lookups at the finding's location, by the resource of the lookup.
func failedLookups(f distribution.Finding, facts distribution.Facts) map[string]*distribution.APIError {
	site := facts.Sites[f.Location]
	errs := map[string]*distribution.APIError{f.Resource: site.Err}
	for key, k := range facts.Keys[f.Location] {
		errs[key] = k.Err
	}
	for _, lookup := range facts.Unseen {
		if lookup.At == f.Location && lookup.Resource == f.Resource {
			errs[f.Resource] = cmp.Or(errs[f.Resource], &lookup.Refusal)
		}
	}
	for _, err := range slices.Concat(site.LookupErrors(), facts.Usage[f.Location].Errs) {
		if err.Error() == f.Detail {
			errs[f.Resource] = err
		}
	}
	return errs
}

// canBeDiagnosed reports whether an error has a code of AWS, or a known cause of missing credentials. A call that AWS
// did not answer has a finding of its own.
func canBeDiagnosed(err *distribution.APIError) bool {
	return !err.Unanswered && (err.Code != "" || err.Cause != "")
}
