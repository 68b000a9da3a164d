// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// copyOperations are the operations that a copy needs on the source key (rule 3.1.3). EC2 creates its own grants
// from them, and a grant can pass on only what it has.
var copyOperations = []string{"CreateGrant", "Decrypt", "DescribeKey", "ReEncryptFrom"}

// clockSkew is the maximum difference between the clocks of AWS and this machine.
const clockSkew = 15 * time.Minute

// keyGrant is the temporary grant that lets a destination's role use a source key.
type keyGrant struct {
	location  distribution.StepID // part of the IDs of its steps
	create    *step.CreateGrant
	wait      distribution.StepID
	copySteps []distribution.StepID // copies that need the grant
}

// targetPrincipal returns the principal of a destination for grants and policies. Empty for an account's root,
// which represents the whole account. The path of a role is unknown if no option names the role.
func targetPrincipal(d distribution.Destination, facts distribution.Facts) string {
	if len(d.Roles) > 0 {
		return string(d.Roles[len(d.Roles)-1].RoleARN)
	}
	return principalARN(facts.Sites[d.At].Identity.ARN)
}

// principalARN returns the principal of an identity. For a session it is the role. Empty for an account's root.
func principalARN(identity string) string {
	parts := strings.SplitN(identity, ":", 6)
	if len(parts) < 6 || parts[5] == "root" {
		return ""
	}
	if session := strings.Split(parts[5], "/"); session[0] == "assumed-role" && len(session) > 1 {
		return "arn:" + parts[1] + ":iam::" + parts[4] + ":role/" + session[1]
	}
	return identity
}

// grantSourceKey adds a temporary grant for a destination's role on a source key. Nil if the request or the copy
// needs none.
func (b *builder) grantSourceKey(g destinationState, source *shareSource, keyARN string) *keyGrant {
	if b.req.SourceKeyAccess != distribution.ByGrant || keyARN == "" || g.At.Account == source.location.Account {
		return nil
	}

	grantee := targetPrincipal(g.Destination, b.facts)
	for _, grant := range b.keyGrants {
		if grant.create.KeyARN == keyARN && grant.create.Grantee == grantee {
			return grant
		}
	}

	location := step.NewID(g.At.Account, source.location.Region)
	isTaken := func(grant *keyGrant) bool { return grant.location == location }
	if slices.ContainsFunc(b.keyGrants, isTaken) {
		location += distribution.StepID(fmt.Sprintf("/%d", len(b.keyGrants)+1))
	}

	grant := &keyGrant{
		location: location,
		create: &step.CreateGrant{
			Base:       step.Base{ID: "allow/" + location, Location: source.location, ExpectedDuration: callTime},
			KeyARN:     keyARN,
			Name:       b.grantName(source, "allow/"+location),
			Grantee:    grantee,
			Operations: copyOperations,
			Retiring:   principalARN(b.facts.Source.ARN),
		},
	}

	b.add(grant.create)
	grant.wait = b.add(&step.WaitForKeyAccess{
		Base: step.Base{
			ID:               "await/" + location,
			Location:         g.At,
			DependsOn:        []distribution.StepID{grant.create.ID},
			ExpectedDuration: callTime,
		},
		KeyARN: keyARN,
	})

	b.keyGrants = append(b.keyGrants, grant)
	return grant
}

// grantName returns the name of a temporary grant. It proves which call created the grant.
func (b *builder) grantName(source *shareSource, id distribution.StepID) string {
	signing := b.newSigning(source.location, source.region, provenance.Grant)
	return signing.Token(string(id)).GrantName(signing.Statement.Source, b.req.RunID)
}

// revokeGrants adds the steps that revoke temporary grants of this plan and of earlier runs, even after a failure.
// A last step reports grants that the permitted roles created.
func (b *builder) revokeGrants() {
	audits := map[string]*step.VerifyGrantsRevoked{}
	audit := func(at distribution.Location, keyARN, account string, since time.Time, after distribution.StepID) {
		a := audits[keyARN]
		if a == nil {
			a = &step.VerifyGrantsRevoked{
				Base: step.Base{
					ID:               step.NewID("audit", at.Region, keyARN[strings.LastIndex(keyARN, "/")+1:]),
					Location:         at,
					ExpectedDuration: callTime,
				},
				KeyARN: keyARN,
				Since:  since,
			}
			audits[keyARN] = a
		}

		a.RunsAfter = append(a.RunsAfter, after)
		if since.Before(a.Since) {
			a.Since = since
		}

		if !slices.Contains(a.Accounts, account) {
			a.Accounts = append(a.Accounts, account)
		}
	}

	for _, a := range b.keyGrants {
		revoke := &step.RevokeGrant{
			Base: step.Base{
				ID:               "revoke/" + a.location,
				Location:         a.create.Location,
				RunsAfter:        append([]distribution.StepID{a.create.ID, a.wait}, a.copySteps...),
				ExpectedDuration: callTime,
			},
			KeyARN:  a.create.KeyARN,
			Grant:   step.Ref{From: a.create.ID},
			Name:    a.create.Name,
			Grantee: a.create.Grantee,
		}

		audit(
			a.create.Location,
			a.create.KeyARN,
			distribution.ARNAccount(a.create.Grantee),
			b.facts.At.Add(-clockSkew),
			b.add(revoke),
		)
	}

	for _, at := range slices.SortedFunc(maps.Keys(b.facts.Grants), distribution.Location.Compare) {
		for _, left := range b.facts.Grants[at] {
			b.revoke(at, left, audit)
		}
	}

	for _, key := range slices.Sorted(maps.Keys(audits)) {
		a := audits[key]
		slices.Sort(a.Accounts)
		b.add(a)
	}
}

// revoke adds the step that revokes an earlier run's grant, after the copies that need the key.
func (b *builder) revoke(
	at distribution.Location,
	left kmstypes.GrantListEntry,
	audit func(distribution.Location, string, string, time.Time, distribution.StepID),
) {
	name, keyARN := aws.ToString(left.Name), aws.ToString(left.KeyId)
	j := b.judgeGrant(at, left)
	if j.Verdict != provenance.Deletable {
		b.listGrant(at, left, j)
		return
	}

	var users []distribution.StepID
	for _, a := range b.keyGrants {
		if a.create.KeyARN == keyARN && a.create.Name == name {
			return // created by this run
		}
		if a.create.KeyARN == keyARN {
			users = append(users, a.copySteps...)
		}
	}

	grant := aws.ToString(left.GrantId)
	newStep := b.add(&step.RevokeGrant{
		Base: step.Base{
			ID:               step.NewID("revoke", at.Region, grant),
			Location:         at,
			RunsAfter:        users,
			ExpectedDuration: callTime,
		},
		KeyARN:  keyARN,
		Grant:   step.Ref{Known: grant},
		Name:    name,
		Grantee: aws.ToString(left.GranteePrincipal),
	})

	audit(
		at,
		keyARN,
		distribution.ARNAccount(aws.ToString(left.GranteePrincipal)),
		aws.ToTime(left.CreationDate).Add(-clockSkew),
		newStep,
	)
}

// judgeGrant returns the judgment on a grant that has the name of a source image's grant.
func (b *builder) judgeGrant(at distribution.Location, g kmstypes.GrantListEntry) provenance.Judgment {
	resource := distribution.GrantResource(at, g)
	for _, image := range b.req.Images {
		source := b.sourceOf(image.Region)
		if j, ok := b.facts.Judge(source); ok && provenance.IsGrantOf(source, resource.Name) {
			return j.Judge(resource)
		}
	}
	return provenance.Judgment{Reason: "no image of this run has a signing key"}
}

// listGrant adds a finding about a grant that is not revoked.
func (b *builder) listGrant(at distribution.Location, g kmstypes.GrantListEntry, j provenance.Judgment) {
	f := unprovenFinding(at, "grant", aws.ToString(g.GrantId))
	if j.Verdict == provenance.Working {
		f.Level, f.Summary = distribution.Note, fmt.Sprintf(
			"grant %s belongs to run %s, which works on the same image",
			f.Resource,
			j.Run,
		)
		f.Code = distribution.CodeRunWorking
		f.Detail, f.Remediation = "that run revokes it, or a later run does", ""
	}
	b.findings = append(b.findings, f)
}

// validateKeyAccess returns findings if a destination's role cannot get a grant.
func (a *Assessment) validateKeyAccess(d distribution.Destination) []distribution.Finding {
	if a.req.SourceKeyAccess != distribution.ByGrant || d.At.Account == a.facts.Source.Account ||
		targetPrincipal(d, a.facts) != "" {
		return nil
	}
	return []distribution.Finding{
		{
			Level:       distribution.Refused,
			Code:        distribution.CodeGrantRoleMissing,
			Reference:   "3.2.6",
			Field:       "source_key_access",
			Location:    d.At,
			Principal:   a.facts.Sites[d.At].Identity.ARN,
			Summary:     "account " + d.At.Account + " has no role for a grant",
			Detail:      "its credentials are those of its root user, and a grant for that is one for the whole account",
			Remediation: "give an assume_role block",
		},
	}
}

// maxKeyGrants is the maximum number of grants on a customer managed key (rule 3.2.7).
const maxKeyGrants = 50_000

// validateGrantCount returns a finding for each Region in which a key would have more grants than AWS allows. A run
// creates one grant on each source key for each account that copies.
func validateGrantCount(req distribution.Request, sources []*shareSource) []distribution.Finding {
	if req.SourceKeyAccess != distribution.ByGrant {
		return nil
	}

	var found []distribution.Finding
	for _, s := range sources {
		accounts := map[string]bool{}
		for _, d := range s.consumers {
			if d.At.Account != s.location.Account {
				accounts[d.At.Account] = true
			}
		}
		if len(accounts) > maxKeyGrants {
			found = append(found, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeTooManyGrants,
				Reference:   "3.2.7",
				Field:       "source_key_access",
				Location:    s.location,
				Summary:     fmt.Sprintf("the source key cannot have %d grants", len(accounts)),
				Detail:      fmt.Sprintf("AWS allows %d grants on a key", maxKeyGrants),
				Remediation: `set source_key_access = "key_policy", and permit the organization in the key policy`,
			})
		}
	}
	return found
}
