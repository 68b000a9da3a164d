// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
)

// Expand returns the destinations of a request, in the order of the template. It needs only the facts about the
// source, so that discover can look up what Decide needs. With several source images, the facts about destinations
// may change which image they get.
func (a *Assessment) Expand() ([]distribution.Destination, []distribution.Finding) {
	var requested []requestedLocation
	var findings []distribution.Finding
	for _, target := range a.req.Targets {
		regions := target.Regions
		if len(regions) == 0 {
			regions = regionsOf(a.req.Images)
		}
		accounts, errs := targetAccounts(target, a.facts)
		findings = append(findings, errs...)
		for _, account := range accounts {
			for _, region := range regions {
				requested = append(requested, requestedLocation{target, distribution.Location{Account: account, Region: region}})
			}
		}
	}

	defaultRegion := a.defaultSourceRegion(requested)
	all := make([]distribution.Destination, len(requested))
	for i, r := range requested {
		from := defaultRegion
		if slices.Contains(regionsOf(a.req.Images), r.at.Region) {
			from = r.at.Region
		}
		d, errs := a.expand(r.target, r.at, from)
		all[i], findings = d, append(findings, errs...)
	}

	return all, append(findings, findDuplicateDestinations(all)...)
}

// requestedLocation is an account and Region of a target.
type requestedLocation struct {
	target distribution.Target
	at     distribution.Location
}

// expand renders a target for one account and Region, and the image that it gets.
func (a *Assessment) expand(
	target distribution.Target, at distribution.Location, from string,
) (distribution.Destination, []distribution.Finding) {
	r := a.newRenderer(target.Name, at, from)
	d := a.newDestination(target, at, from)
	if target.AMIName != "" {
		d.Name = r.text("ami_name", target.AMIName)
	}

	if invariant.Names.IsOff() {
		d.Name += " " + a.req.Build.RunID
	}

	if target.AMIDescription != "" {
		d.Description = r.text("ami_description", target.AMIDescription)
	}

	d.Tags, d.LeftTags = fitTags(d.Tags, r.texts("tags", target.Tags, nil))
	d.SnapshotTags = r.texts("snapshot_tags", target.SnapshotTags, nil)
	d.TargetOptions = r.options(target.TargetOptions)
	d.KMSKeyID = r.text("kms_key_id", target.KMSKeyID)
	if key, found := target.RegionKMSKeyIDs[at.Region]; found {
		d.KMSKeyID = r.text("region_kms_key_ids", key)
	}

	d.Grants = r.grants(target.Grants)
	d.RunTags = r.texts("run_tags", a.req.RunTags, nil)
	if target.DeprecateAt != "" {
		d.Lifecycle.DeprecateAt = r.time("deprecate_at", target.DeprecateAt)
	}

	if at.Account != a.facts.Source.Account {
		d.Roles = r.roles(target.Roles)
	}

	return d, r.findings
}

// newDestination returns a destination with the options of the target that are not templates, and the attributes of
// the image.
func (a *Assessment) newDestination(
	target distribution.Target, at distribution.Location, from string,
) distribution.Destination {
	d := distribution.Destination{
		At:         at,
		Target:     target.Name,
		FromRegion: from,
		Via:        credentialsOption(target),
	}

	image := a.facts.Images[from].Image
	if image == nil {
		return d
	}

	d.Name = aws.ToString(image.Name)
	d.Description = aws.ToString(image.Description)
	d.Tags = carriedTags(image.Tags)
	d.Method, d.MethodWhy = copyMethod(target, *image, from, at.Region, a.req.Strict)
	if at.Account == a.facts.Source.Account && target.AMIName == "" {
		d.Name += " (encrypted)" // because the builder's image has the name
	}

	return d
}

// credentialsOption returns the option that sets the credentials of a target.
func credentialsOption(t distribution.Target) string {
	if t.Profile != "" {
		return "profile"
	}
	return "assume_role"
}

// defaultSourceRegion returns the Region whose image is copied to Regions without one. It prefers a Region with a
// key, then the Region that earlier runs used, because their copies are found by their source. Then it prefers the
// fastest copies if the request does, the least staging, the Region of the build, and the first.
func (a *Assessment) defaultSourceRegion(requested []requestedLocation) string {
	regions := regionsOf(a.req.Images)
	if len(regions) < 2 {
		return strings.Join(regions, "")
	}

	if i := slices.Index(regions, a.req.Build.Region); i > 0 {
		regions = slices.Insert(slices.Delete(regions, i, i+1), 0, a.req.Build.Region)
	}

	locations := make([]distribution.Location, len(requested))
	for i, r := range requested {
		locations[i] = r.at
	}

	rank := func(region string) []int64 {
		g := a.newSourceRegion(locations, region, false)
		withoutKey, slowest := int64(1), int64(0)
		if g.canStage {
			withoutKey = 0
		}
		if a.req.OptimizeForTime {
			slowest = int64(g.directTime)
		}
		return []int64{withoutKey, -a.countStartedDestinations(requested, region), slowest, g.stagedGiB}
	}

	return slices.MinFunc(regions, func(a, b string) int { return slices.Compare(rank(a), rank(b)) })
}

// countStartedDestinations returns in how many locations earlier runs created or began copies of the image of a
// Region. It counts Regions without a source image.
func (a *Assessment) countStartedDestinations(requested []requestedLocation, from string) (n int64) {
	if a.facts.Images[from].Image == nil {
		return 0
	}

	regions := regionsOf(a.req.Images)
	for _, r := range requested {
		existing := a.facts.Earlier[r.at]
		if slices.Contains(regions, r.at.Region) || len(existing.Images)+len(existing.Snapshots) == 0 {
			continue
		}
		d, _ := a.expand(r.target, r.at, from)
		if a.hasStarted(d) {
			n++
		}
	}

	return n
}

// hasStarted reports whether earlier runs created a copy of the image or of a snapshot for a destination.
func (a *Assessment) hasStarted(d distribution.Destination) bool {
	hasCopy := func(v volume) bool {
		return reusableCopy(a.facts, v, a.copySigning(d, v.device()), d.Name) != nil
	}
	return a.imageAt(d).isStarted() || slices.ContainsFunc(volumes(a.facts.Images[d.FromRegion]), hasCopy)
}

func regionsOf(images []distribution.SourceImage) []string {
	regions := make([]string, len(images))
	for i, image := range images {
		regions[i] = image.Region
	}
	return regions
}

// findDuplicateDestinations returns a finding for each destination whose account and Region an earlier one already has.
func findDuplicateDestinations(all []distribution.Destination) []distribution.Finding {
	var findings []distribution.Finding
	first := map[distribution.Location]string{}
	for _, d := range all {
		if target, there := first[d.At]; there {
			findings = append(findings, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeDestinationDuplicate,
				Field:       field(d.Target, "account_ids"),
				Location:    d.At,
				Summary:     fmt.Sprintf("account %s in %s is named twice", d.At.Account, d.At.Region),
				Detail:      fmt.Sprintf("target %q names it already", target),
				Remediation: "name each account and Region once",
			})
			continue
		}
		first[d.At] = d.Target
	}

	return findings
}

// field returns the name of a target's option in messages.
func field(target, option string) string { return fmt.Sprintf("target %q: %s", target, option) }

// targetAccounts returns the accounts of a target: its account_ids, and those of its organizational units. It
// excludes the source account and inactive accounts of units.
func targetAccounts(t distribution.Target, facts distribution.Facts) ([]string, []distribution.Finding) {
	accounts := slices.Clone(t.AccountIDs)
	var findings []distribution.Finding
	for _, id := range t.Units {
		unit := facts.Units[id]
		if unit.Err != nil {
			findings = append(findings, distribution.Finding{
				Level:     distribution.Refused,
				Code:      distribution.CodeOrganizationalUnitDenied,
				Field:     field(t.Name, "organizational_unit_ids"),
				Resource:  id,
				Principal: facts.Source.ARN,
				Operation: unit.Err.Operation,
				Summary:   "the accounts of " + id + " cannot be listed",
				Detail:    unit.Err.Error(),
				Remediation: "only the management account of an organization and its delegated administrators may look at " +
					"it: set organizations_role to a role there",
			})
			continue
		}

		var inactive, active []string
		for _, member := range unit.Accounts {
			switch {
			case member.ID == facts.Source.Account || slices.Contains(t.ExcludedIDs, member.ID):
			case member.Active:
				active = append(active, member.ID)
			default:
				inactive = append(inactive, member.ID)
			}
		}

		if len(inactive) > 0 {
			findings = append(findings, distribution.Finding{
				Level:    distribution.Note,
				Code:     distribution.CodeAccountsInactive,
				Field:    field(t.Name, "organizational_unit_ids"),
				Resource: id,
				Summary:  "accounts are skipped: " + strings.Join(inactive, ", "),
				Detail:   "they are suspended, or are about to be closed",
			})
		}

		if len(active) == 0 {
			findings = append(findings, distribution.Finding{
				Level:    distribution.Warning,
				Code:     distribution.CodeOrganizationalUnitEmpty,
				Field:    field(t.Name, "organizational_unit_ids"),
				Resource: id,
				Summary:  id + " has no active account",
				Detail:   fmt.Sprintf("it has %d accounts, and all are skipped", len(unit.Accounts)),
			})
		}

		accounts = append(accounts, active...)
	}

	slices.Sort(accounts)
	return slices.Compact(accounts), findings
}

// skipsMissingRole reports whether a destination is excluded because its role is missing or cannot be assumed (5.6).
func skipsMissingRole(d distribution.Destination, facts distribution.Facts) bool {
	err := facts.Sites[d.At].Err
	return d.SkipMissingRole && err != nil && err.Operation == "sts:AssumeRole" && err.Code == "AccessDenied"
}
