// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// unansweredCall returns a call at a destination that AWS did not answer and that the plan needs. Nil if there is none.
func unansweredCall(d distribution.Destination, facts distribution.Facts) *distribution.APIError {
	site := facts.Sites[d.At]
	errs := []*distribution.APIError{site.Err, facts.Keys[d.At][DestinationKey(d, facts)].Err, site.Subnet.Err}
	errs = append(errs, site.LookupErrors()...)
	for i, lookup := range facts.Unseen {
		isDefaultKey := d.KMSKeyID == distribution.DefaultKey && lookup.Refusal.Operation == "ec2:GetEbsDefaultKmsKeyId"
		isSourceImage := lookup.At == distribution.Location{Account: facts.Source.Account, Region: d.FromRegion}
		if lookup.At == d.At && (lookup.Vital || isDefaultKey) || lookup.Vital && isSourceImage {
			errs = append(errs, &facts.Unseen[i].Refusal)
		}
	}
	i := slices.IndexFunc(errs, func(err *distribution.APIError) bool { return err != nil && err.Unanswered })
	if i < 0 {
		return nil
	}
	return errs[i]
}

// unansweredImage returns why AWS did not describe a source image. Nil if it answered.
func unansweredImage(source distribution.SourceImage, facts distribution.Facts) *distribution.APIError {
	at := distribution.Location{Account: facts.Source.Account, Region: source.Region}
	i := slices.IndexFunc(facts.Unseen, func(u distribution.FailedLookup) bool {
		return u.At == at && u.Resource == source.ImageID && u.Refusal.Unanswered
	})
	if i < 0 || facts.Images[source.Region].Image != nil {
		return nil
	}
	return &facts.Unseen[i].Refusal
}

// IsUnanswered reports whether the plan leaves a destination out because AWS did not answer.
func (p Plan) IsUnanswered(d DestinationPlan) bool {
	return d.LeftOut && slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool { return isUnansweredAt(f, d) })
}

func isUnansweredAt(f distribution.Finding, d DestinationPlan) bool {
	return f.Code == distribution.CodeUnanswered && f.Location == d.At
}

// FailUnanswered returns the findings of the plan, with errors for the required destinations that it leaves out because
// AWS did not answer. They are warnings in the plan, because they concern no other destination.
func (p Plan) FailUnanswered() []distribution.Finding {
	findings := slices.Clone(p.Findings)
	for i, f := range findings {
		for _, d := range p.Destinations {
			if isUnansweredAt(f, d) && d.LeftOut && !d.Optional {
				findings[i].Level = distribution.Refused
			}
		}
	}
	return findings
}
