// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// destinationFinding returns a finding about an option of a destination.
func destinationFinding(
	d distribution.Destination,
	facts distribution.Facts,
	level distribution.Level,
	code, rule, option string,
) distribution.Finding {
	return distribution.Finding{
		Level:     level,
		Code:      code,
		Reference: rule,
		Field:     field(d.Target, option),
		Location:  d.At,
		Principal: facts.Sites[d.At].Identity.ARN,
	}
}

// validateDestination returns findings for a destination that cannot get its copy.
func (a *Assessment) validateDestination(d distribution.Destination) []distribution.Finding {
	if f := missingAccess(d, a.facts); f != nil {
		return []distribution.Finding{*f}
	}

	if found := validateRoleLimits(d, a.facts); len(found) > 0 {
		return found
	}

	if call := unansweredCall(d, a.facts); call != nil {
		return []distribution.Finding{call.Finding(d.At)}
	}

	if f := unreachableReason(d, a.facts); f != nil {
		return []distribution.Finding{*f}
	}

	return slices.Concat(
		validateDestinationKey(d, a.facts),
		keyExpiryFindings(a.facts.Keys[d.At][DestinationKey(d, a.facts)], field(d.Target, "kms_key_id"), d.At, a.facts.At),
		a.validateKeyAccess(d),
		validateManagedKeyGrants(d, a.facts),
		validateGrants(d),
		a.validateName(d),
		a.validateMethod(d),
		validateImageSettings(d, a.facts),
		a.validateWatermarks(d),
		validateLaunchCheck(d, a.facts),
		a.validateCarriedTags(d),
		validateLimits(d, a.facts),
		a.validatePublication(d),
	)
}

func validateDestinationKey(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	key := facts.Keys[d.At][DestinationKey(d, facts)]
	reason, rule := keyUnusableReason(key)
	keyRegion := distribution.ARNRegion(d.KMSKeyID)
	switch {
	case key.IsConcealed(d.KMSKeyID, d.At.Region):
		f := destinationFinding(d, facts, distribution.Warning, distribution.CodeKeyUnreadable, "3.2.4", "kms_key_id")
		f.Summary = "the key could not be looked at"
		f.Detail = reason
		f.Remediation = "the copy will show whether it can be used; to know before, allow kms:DescribeKey to " + f.Principal
		return []distribution.Finding{f}
	case keyRegion != "" && keyRegion != d.At.Region:
		f := destinationFinding(d, facts, distribution.Refused, distribution.CodeKeyOfOtherRegion, "1.7.5", "kms_key_id")
		f.Summary = "the key is of another Region"
		f.Detail = d.KMSKeyID + " is not in " + d.At.Region
		f.Remediation = "use an alias that exists in every Region, or region_kms_key_ids"
		return []distribution.Finding{f}
	case reason != "":
		f := destinationFinding(d, facts, distribution.Refused, distribution.CodeKeyUnusable, rule, "kms_key_id")
		f.Resource = key.ARN()
		f.Summary = "the key " + d.KMSKeyID + " cannot be used"
		f.Detail = reason
		f.Remediation = keyRemedy(key)
		return []distribution.Finding{f}
	}

	return nil
}

// validateManagedKeyGrants returns a finding for grants on an AWS managed key.
func validateManagedKeyGrants(d distribution.Destination, facts distribution.Facts) []distribution.Finding {
	key := facts.Keys[d.At][DestinationKey(d, facts)]
	if len(d.Grants) == 0 || !key.IsManagedByAWS() {
		return nil
	}
	f := destinationFinding(d, facts, distribution.Refused, distribution.CodeAWSManagedKeyGrant, "8.1", "kms_grant")
	f.Resource = key.ARN()
	f.Summary = "grants cannot be created on the key " + d.KMSKeyID
	f.Detail = "AWS manages it; the service-linked roles of its account may use it as it is"
	f.Remediation = "leave out kms_grant, or name a customer managed key"
	return []distribution.Finding{f}
}

// missingAccess returns a finding if the Region does not exist or there are no credentials for the account. Nil
// otherwise.
func missingAccess(d distribution.Destination, facts distribution.Facts) *distribution.Finding {
	if !facts.HasRegion(d.At.Region) {
		f := destinationFinding(d, facts, distribution.Refused, distribution.CodeRegionUnknown, "5.8", "regions")
		f.Summary = "there is no Region " + d.At.Region
		f.Detail = "AWS does not list it for the partition " + facts.Source.Partition
		f.Remediation = "correct the name"
		return &f
	}

	if d.At.Account != facts.Source.Account && len(d.Roles) == 0 && d.Profile == "" {
		f := destinationFinding(d, facts, distribution.Refused, distribution.CodeCredentialsMissing, "5.10", "assume_role")
		f.Summary = "there are no credentials for account " + d.At.Account
		f.Detail = "the source credentials belong to account " + facts.Source.Account
		f.Remediation = "give assume_role or profile"
		return &f
	}

	return nil
}

// unreachableReason returns why nothing can be done at a destination. Nil if something can be done.
func unreachableReason(d distribution.Destination, facts distribution.Facts) *distribution.Finding {
	if site := facts.Sites[d.At]; site.Err != nil {
		f := lookupFinding(d, site, facts)
		return &f
	}
	failed := facts.RequiredLookupFailure(d.At)
	isReportedForSource := d.At.Account == facts.Source.Account && facts.NeedsLookup(d.At)
	if failed == nil || isReportedForSource {
		return nil
	}
	f := failedLookupFinding(*failed)
	f.Field, f.Principal = field(d.Target, d.Via), facts.Sites[d.At].Identity.ARN
	return &f
}

// lookupFinding returns the finding for a destination whose lookup failed.
func lookupFinding(
	d distribution.Destination,
	site distribution.DestinationFacts,
	facts distribution.Facts,
) distribution.Finding {
	option, rule := d.Via, "5.6"
	if site.Identity.Account != "" {
		option, rule = "regions", "5.8"
	}

	return distribution.Finding{
		Level:       distribution.Refused,
		Code:        distribution.CodeAccountUnusable,
		Reference:   rule,
		Field:       field(d.Target, option),
		Location:    d.At,
		Operation:   site.Err.Operation,
		Principal:   site.Identity.ARN,
		Resource:    lastRole(d),
		Summary:     "account " + d.At.Account + " cannot be used",
		Detail:      site.Err.Error(),
		Remediation: siteRemedy(d, site, facts),
	}
}

// siteRemedy returns the next step if the credentials or the Region of a destination cannot be used.
func siteRemedy(d distribution.Destination, site distribution.DestinationFacts, facts distribution.Facts) string {
	switch {
	case site.Err.Code == "UnauthorizedOperation":
		return fmt.Sprintf("allow %s to %s", site.Err.Operation, site.Identity.ARN)
	case site.Identity.Account != "":
		return fmt.Sprintf("enable the Region %s in account %s, or leave it out of regions", d.At.Region, d.At.Account)
	case site.Err.Code == "": // the credentials belong to another account, which is not an error of AWS (rule 5.10)
		return "name a role or profile of account " + d.At.Account
	case len(d.Roles) > 0:
		return fmt.Sprintf("check that the role exists, that its trust policy allows %s, the external id, and that "+
			"sts:AssumeRole is allowed on it", facts.Source.ARN)
	}
	return "check the profile " + d.Profile
}

func lastRole(d distribution.Destination) string {
	if len(d.Roles) == 0 {
		return ""
	}
	return string(d.Roles[len(d.Roles)-1].RoleARN)
}

// destinationKeyARN returns the key of the copies of a destination.
func destinationKeyARN(d distribution.Destination, facts distribution.Facts) string {
	name := DestinationKey(d, facts)
	return cmp.Or(facts.Keys[d.At][name].ARN(), name)
}

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
