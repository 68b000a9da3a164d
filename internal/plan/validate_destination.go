// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"regexp"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// imageName is what AWS takes as the name of an image (rule 2.5.3).
var imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./'@_-]{3,128}$`)

// destinationTroubles are the reasons why a destination cannot get its copy.
func validateDestination(
	req distribution.Request,
	d distribution.Destination,
	facts distribution.Facts,
) []distribution.Finding {
	site := facts.Sites[d.At]
	finding := func(level distribution.Level, rule, option, summary, because, next string) distribution.Finding {
		return distribution.Finding{
			Level:       level,
			Reference:   rule,
			Field:       field(d.Target, option),
			Location:    d.At,
			Principal:   site.Identity.ARN,
			Summary:     summary,
			Detail:      because,
			Remediation: next,
		}
	}
	if !facts.HasRegion(d.At.Region) {
		return []distribution.Finding{
			finding(
				distribution.Refused,
				"5.8",
				"regions",
				"there is no Region "+d.At.Region,
				"AWS does not list it for the partition "+facts.Source.Partition,
				"correct the name",
			),
		}
	}
	if d.At.Account != facts.Source.Account && len(d.Roles) == 0 && d.Profile == "" {
		return []distribution.Finding{
			finding(
				distribution.Refused,
				"5.10",
				"role_name",
				"there are no credentials for account "+d.At.Account,
				"the source credentials belong to account "+facts.Source.Account,
				"give role_name, an assume_role block or profile",
			),
		}
	}
	if f := unreachableReason(d, facts); f != nil {
		return []distribution.Finding{*f}
	}
	var found []distribution.Finding
	key := facts.Keys[d.At][DestinationKey(d, facts)]
	why, rule := keyUnusableReason(key)
	switch {
	case key.IsConcealed(d.KMSKeyID, d.At.Region):
		found = append(found, finding(distribution.Warning, "3.2.4", "kms_key_id", "the key could not be looked at", why,
			"the copy will show whether it can be used; to know before, allow kms:DescribeKey to "+site.Identity.ARN))
	case distribution.ARNRegion(d.KMSKeyID) != "" && distribution.ARNRegion(d.KMSKeyID) != d.At.Region:
		found = append(
			found,
			finding(
				distribution.Refused,
				"1.7.5",
				"kms_key_id",
				"the key is of another Region",
				d.KMSKeyID+" is not in "+d.At.Region,
				"use an alias that exists in every Region, or region_kms_key_ids",
			),
		)
	case why != "":
		f := finding(distribution.Refused, rule, "kms_key_id", "the key "+d.KMSKeyID+" cannot be used", why, keyRemedy(key))
		f.Resource = key.ARN()
		found = append(found, f)
	}
	found = append(found, keyExpiryFindings(key, field(d.Target, "kms_key_id"), d.At, facts.At)...)
	found = append(found, validateKeyAccess(req, d, facts)...)
	if len(d.Grants) > 0 && key.IsManagedByAWS() {
		f := finding(
			distribution.Refused,
			"8.1",
			"grant",
			"nobody can give grants on the key "+d.KMSKeyID,
			"AWS manages it; the service-linked roles of its account may use it as it is",
			"leave out grant, or name a customer managed key",
		)
		f.Resource = key.ARN()
		found = append(found, f)
	}
	found = append(found, validateGrants(d)...)
	if facts.Images[d.FromRegion].Image != nil && !imageName.MatchString(d.Name) {
		found = append(
			found,
			finding(distribution.Refused, "2.5.3", "ami_name", fmt.Sprintf("%q cannot be the name of an image", d.Name),
				"names have 3 to 128 letters, digits, blanks and ( ) [ ] . / - ' @ _", "set ami_name"),
		)
	}
	found = append(found, validateName(req, d, facts)...)
	found = append(found, validateMethod(req, d, facts)...)
	found = append(found, validateLifecycle(d, facts)...)
	found = append(found, validateLicenses(d)...)
	if n := len(d.Tags) + ownTags; n > maxTags {
		found = append(found, finding(distribution.Refused, "9.4", "tags", fmt.Sprintf("the image would have %d tags", n),
			fmt.Sprintf("AWS lets a resource have %d, and %d of them say where "+
				"ours come from", maxTags, ownTags), "give fewer tags"))
	}
	if n := len(d.SnapshotTags) + ownTags; n > maxTags {
		found = append(
			found,
			finding(distribution.Refused, "9.4", "snapshot_tags", fmt.Sprintf("the snapshots would have %d tags", n),
				fmt.Sprintf("AWS lets a resource have %d, and %d of them say where "+
					"ours come from", maxTags, ownTags), "give fewer tags"),
		)
	}
	return append(found, validatePublication(req, d, facts)...)
}

// closed says why nothing at all can be done at a destination; nil: something can.
func unreachableReason(d distribution.Destination, facts distribution.Facts) *distribution.Finding {
	if site := facts.Sites[d.At]; site.Err != nil {
		f := lookupFinding(d, site, facts)
		return &f
	}
	unseen := facts.RequiredLookupFailure(d.At)
	if unseen == nil ||
		d.At.Account == facts.Source.Account && facts.NeedsLookup(d.At) { // told of the source account as a whole
		return nil
	}
	f := failedLookupFinding(*unseen)
	f.Field, f.Principal = field(d.Target, d.Via), facts.Sites[d.At].Identity.ARN
	return &f
}

// siteTrouble says why nothing can be done at a destination.
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
		Reference:   rule,
		Field:       field(d.Target, option),
		Location:    d.At,
		Operation:   site.Err.Operation,
		Principal:   site.Identity.ARN,
		Resource:    lastRole(d),
		Summary:     "account " + d.At.Account + " cannot be worked in",
		Detail:      site.Err.Error(),
		Remediation: siteRemedy(d, site, facts),
	}
}

// siteRemedy says what to do when an account's credentials could not be had, or its Region not be used.
func siteRemedy(d distribution.Destination, site distribution.DestinationFacts, facts distribution.Facts) string {
	switch {
	case site.Err.Code == "UnauthorizedOperation":
		return fmt.Sprintf("allow %s to %s", site.Err.Operation, site.Identity.ARN)
	case site.Identity.Account != "":
		return fmt.Sprintf("enable the Region %s in account %s, or leave it out of regions", d.At.Region, d.At.Account)
	case site.Err.Code == "": // not AWS's answer: the credentials are not this account's (5.10)
		return "name a role or profile of account " + d.At.Account
	case len(d.Roles) > 0:
		return fmt.Sprintf("check that the role exists, that its trust policy admits %s, the external id, and that "+
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

// destinationKeyARN is the key that a destination's copies are encrypted with.
func destinationKeyARN(d distribution.Destination, facts distribution.Facts) string {
	asked := DestinationKey(d, facts)
	if known := facts.Keys[d.At][asked].ARN(); known != "" {
		return known
	}
	return asked
}
