// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"cmp"
	"maps"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Looks gives findings that rest on a refused look the cause, the next step and the policy statements that is known for the
// refusal. What they are about, and how grave they are, is for the plan to say.
func Looks(findings []distribution.Finding, facts distribution.Facts) []distribution.Finding {
	findings = slices.Clone(findings)
	for i, f := range findings {
		look, found := lookBehind(f, facts)
		if !found {
			continue
		}
		e := Explain(look)
		e.Level, e.Field, e.Location, e.Summary = f.Level, f.Field, f.Location, f.Summary+": "+e.Summary
		findings[i] = e
	}
	return findings
}

// lookBehind is the look at a finding's place whose refusal is its cause, if AWS has refused one.
func lookBehind(f distribution.Finding, facts distribution.Facts) (Case, bool) {
	who := facts.Sites[f.Location].Identity.ARN
	if f.Location.Account == facts.Source.Account {
		who = facts.Source.ARN
	}
	refusals := map[string]*distribution.APIError{f.Resource: facts.Sites[f.Location].Err} // by what the look was about
	for key, seen := range facts.Keys[f.Location] {
		refusals[key] = seen.Err
	}
	for _, unseen := range facts.Unseen {
		if unseen.At == f.Location && unseen.Resource == f.Resource {
			refusals[f.Resource] = cmp.Or(refusals[f.Resource], &unseen.Refusal)
		}
	}
	for _, stored := range facts.Sites[f.Location].Parameters {
		if stored.Err != nil && stored.Err.Error() == f.Detail {
			refusals[f.Resource] = stored.Err
		}
	}
	for name, template := range facts.Sites[f.Location].Templates {
		if template.Err != nil {
			refusals[name] = template.Err
		}
	}
	for _, about := range slices.Sorted(maps.Keys(refusals)) {
		if refusal := refusals[about]; refusal != nil && refusal.Code != "" && refusal.Error() == f.Detail {
			return Case{Refusal: *refusal, At: f.Location, Principal: who, Resource: about, SourceAccount: facts.Source.Account, ExternalID: facts.Sites[f.Location].ExternalID}, true
		}
	}
	return Case{}, false
}
