// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"reflect"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Sharers returns the accounts of share blocks that create grants, in every Region of the images. They are
// destinations without a copy.
func (a *Assessment) Sharers() ([]distribution.Destination, []distribution.Finding) {
	var all []distribution.Destination
	var findings []distribution.Finding
	for _, share := range a.req.Shares {
		if len(share.Grants) == 0 {
			continue
		}
		for _, account := range share.AccountIDs {
			for _, region := range regionsOf(a.req.Images) {
				target := distribution.Target{Name: share.Name, Roles: share.Roles, Grants: share.Grants}
				target.Profile = share.Profile
				d, errs := a.expand(
					target,
					distribution.Location{Account: account, Region: region},
					region,
				)
				all, findings = append(all, d), append(findings, errs...)
			}
		}
	}

	return all, nameShareBlocks(findings)
}

// nameShareBlocks returns findings that name share blocks instead of targets.
func nameShareBlocks(findings []distribution.Finding) []distribution.Finding {
	for i, f := range findings {
		findings[i].Field = strings.Replace(f.Field, "target", "share", 1)
	}
	return findings
}

// validateSharers returns findings for accounts of share blocks that cannot create their grants.
func validateSharers(
	facts distribution.Facts,
	granters, destinations []distribution.Destination,
	sources []*shareSource,
) []distribution.Finding {
	var found []distribution.Finding
	for i, d := range granters {
		add := func(code, rule, option, summary, detail, remediation string) {
			found = append(
				found,
				distribution.Finding{
					Level:       distribution.Refused,
					Code:        code,
					Reference:   rule,
					Field:       field(d.Target, option),
					Location:    d.At,
					Principal:   facts.Sites[d.At].Identity.ARN,
					Summary:     summary,
					Detail:      detail,
					Remediation: remediation,
				},
			)
		}

		same := func(o distribution.Destination) bool { return o.At == d.At }
		other := slices.IndexFunc(destinations, same)
		switch {
		case slices.ContainsFunc(granters[:i], same):
			add(
				distribution.CodeDestinationDuplicate,
				"",
				"account_ids",
				"two share blocks with kms_grant name account "+d.At.Account,
				"each account makes its grants with one role",
				"name the account in one of them, with all its grants",
			)
		case other >= 0 &&
			(!reflect.DeepEqual(destinations[other].Roles, d.Roles) || destinations[other].Profile != d.Profile):
			add(
				distribution.CodeCredentialsDiffer,
				"",
				d.Via,
				"account "+d.At.Account+" has other credentials in "+field(destinations[other].Target, d.Via),
				"a run acts in an account with one role",
				"name the same role",
			)
		case d.At.Account != facts.Source.Account && len(d.Roles) == 0 && d.Profile == "":
			add(
				distribution.CodeCredentialsMissing,
				"5.10",
				"assume_role",
				"there are no credentials for account "+d.At.Account,
				"the source credentials belong to account "+facts.Source.Account,
				"give assume_role or profile",
			)
		case facts.Sites[d.At].Err != nil:
			found = append(found, lookupFinding(d, facts.Sites[d.At], facts))
		}

		found = append(found, validateGrants(d)...)
		for _, s := range sources {
			if s.location.Region == d.At.Region && len(s.keys()) == 0 {
				add(
					distribution.CodeKeyMissing,
					"8.3",
					"kms_grant",
					"there is no key to give grants on",
					"the image that is shared is not encrypted",
					"leave out kms_grant, or give kms_key_id",
				)
			}
		}
	}

	return nameShareBlocks(found)
}

// grantShared adds grants for principals of the share blocks' accounts, on the keys of the shared image. Each
// account creates its own grants, and the key policy must allow that directly (rule 8.3). No run revokes them.
func (b *builder) grantShared(sources []*shareSource) {
	granters, _ := b.Sharers()
	for _, d := range granters {
		for _, g := range grantsShared(d, sources) {
			b.add(&step.CreateGrant{
				Base: step.Base{
					ID: step.NewID(
						"grant",
						d.At.Account,
						d.At.Region,
						g.KeyARN[strings.LastIndex(g.KeyARN, "/")+1:],
						g.Name,
					),
					Location:         d.At,
					ExpectedDuration: callTime,
				},
				KeyARN:     g.KeyARN,
				Name:       g.Name,
				Grantee:    g.Grantee,
				Operations: g.Operations,
				Lasting:    true,
			})
		}
	}
}

// grantsShared returns the grants that an account creates on the keys of its Region's shared image.
func grantsShared(d distribution.Destination, sources []*shareSource) []distribution.KeyGrantResult {
	var all []distribution.KeyGrantResult
	for _, s := range sources {
		if s.location.Region != d.At.Region || s.permanent.IsEmpty() {
			continue
		}
		for _, key := range s.keys() {
			for _, k := range d.Grants {
				all = append(
					all,
					distribution.KeyGrantResult{
						At:         d.At,
						KeyARN:     key,
						Name:       k.Name,
						Grantee:    k.Grantee,
						Operations: slices.Clone(k.Operations),
					},
				)
			}
		}
	}

	return all
}

// grantConditions returns conditions that allow only the grants of a destination.
func grantConditions(d distribution.Destination) []distribution.Condition {
	var all []distribution.Condition
	for _, k := range d.Grants {
		i := slices.IndexFunc(all, func(c distribution.Condition) bool {
			return slices.Equal(c["ForAllValues:StringEquals"]["kms:GrantOperations"], k.Operations)
		})
		if i < 0 {
			i, all = len(
				all,
			), append(
				all,
				distribution.Condition{"StringEquals": {}, "ForAllValues:StringEquals": {"kms:GrantOperations": k.Operations}},
			)
		}

		to := all[i]["StringEquals"]
		to["kms:GranteePrincipal"] = distribution.Union(append(to["kms:GranteePrincipal"], k.Grantee), nil)
	}

	return all
}
