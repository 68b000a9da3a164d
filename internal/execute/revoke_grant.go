// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// lostGrant is how long a grant is looked for whose id never came: its call was cut off.
const lostGrantTimeout = 30 * time.Second

// revokeGrant ends a grant and reads it back. That it has ended already is what was wanted.
func (t *executor) revokeGrant(ctx context.Context, j *stepRun, s *step.RevokeGrant) StepOutcome {
	id := j.id(s.Grant)
	if id == "" {
		made := j.outcomes[s.Grant.From]
		if made.Err == nil || errors.Is(made.Err, errSkipped) || !awsclient.IsOutcomeUnknown(made.Err) {
			return StepOutcome{}
		}
		var err error
		if id, err = t.findLostGrant(ctx, j, s); err != nil || id == "" {
			return StepOutcome{Err: err}
		}
	}
	left := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{{At: s.Location, Kind: "grant", Resource: id, Why: fmt.Sprintf("%q on %s for %s: %s", s.Name, s.KeyARN, s.Grantee, why)}}
	}
	if !j.state.changed {
		proof, err := t.grantProof(ctx, s.Location, s.KeyARN, id)
		switch {
		case errors.Is(err, errNotShown) && s.Grant.From != "" && j.keepPolling() && j.state.polls < 5: // 4.4.4
			return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
		case errors.Is(err, errNotShown), awsclient.IsNotFound(err):
			return StepOutcome{ID: id}
		case err == nil:
			in := &kms.RevokeGrantInput{KeyId: aws.String(s.KeyARN), GrantId: aws.String(proof.ID())}
			_, err = t.pool.KMS(s.Location).RevokeGrant(ctx, in)
		}
		if err != nil && !awsclient.IsNotFound(err) {
			return StepOutcome{ID: id, Err: err, Retained: left(reason(err))}
		}
		j.state.changed = true
	}
	still, err := t.grants(ctx, s.Location, &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN), GrantId: aws.String(id)})
	switch {
	case err != nil && !awsclient.IsNotFound(err):
		return StepOutcome{ID: id, Err: err, Retained: left("revoked, but it could not be read back: " + err.Error())}
	case len(still) > 0 && j.keepPolling(): // 4.4.4
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case len(still) > 0:
		return StepOutcome{ID: id, Retained: left("revoked, and still shown")}
	}
	return StepOutcome{ID: id}
}

// lostGrant looks for the grant whose id never came: by its name, which no other run has.
func (t *executor) findLostGrant(ctx context.Context, j *stepRun, s *step.RevokeGrant) (string, error) {
	seen, err := t.grants(ctx, s.Location, &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN), GranteePrincipal: aws.String(s.Grantee)})
	if err != nil {
		return "", err
	}
	for _, g := range seen {
		if aws.ToString(g.Name) == s.Name {
			return aws.ToString(g.GrantId), nil
		}
	}
	if j.state.missingSince.IsZero() {
		j.state.missingSince = time.Now()
	}
	if time.Since(j.state.missingSince) < lostGrantTimeout {
		j.state.polls++
		return "", retryAfter{step.Backoff(j.state.polls)}
	}
	return "", nil
}

// auditGrants names the grants on a key that admitted accounts made for others than AWS's services, beside those that this run was asked
// for. It is told, and changes nothing: whoever made them may have had another right to.
func (t *executor) verifyGrantsRevoked(ctx context.Context, s *step.VerifyGrantsRevoked) StepOutcome {
	seen, err := t.grants(ctx, s.Location, &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN)})
	if err != nil {
		return StepOutcome{Err: err}
	}
	var notes []distribution.Finding
	for _, g := range seen {
		account := accountOf(aws.ToString(g.IssuingAccount))
		if !slices.Contains(s.Accounts, account) || aws.ToTime(g.CreationDate).Before(s.Since) || isServiceGrant(g) || t.isCreatedByPlan(g) {
			continue
		}
		notes = append(notes, distribution.Finding{Level: distribution.Warning, Reference: "3.2.6", Field: "source_key_access", Location: s.Location, Operation: "kms:ListGrants",
			Principal: aws.ToString(g.GranteePrincipal), Resource: s.KeyARN,
			Summary:     fmt.Sprintf("account %s let %s use the key by a grant of its own", account, aws.ToString(g.GranteePrincipal)),
			Detail:      fmt.Sprintf("the grant %s (%q, %s) was made while the account was admitted, and does not end with its admission", aws.ToString(g.GrantId), aws.ToString(g.Name), operationsOf(g)),
			Remediation: fmt.Sprintf("find out what for; to end it: aws kms revoke-grant --region %s --key-id %s --grant-id %s", s.Location.Region, s.KeyARN, aws.ToString(g.GrantId))})
	}
	return StepOutcome{Notes: notes}
}

// ofService reports a grant that AWS made for itself: EC2's are for sessions of a role whose name nobody else can give (3.1.11).
func isServiceGrant(g kmstypes.GrantListEntry) bool {
	grantee := aws.ToString(g.GranteePrincipal)
	return grantee == "" || strings.HasSuffix(grantee, ".amazonaws.com") || strings.Contains(grantee, ":assumed-role/aws:")
}

// wanted reports a grant that a step of this run made.
func (t *executor) isCreatedByPlan(g kmstypes.GrantListEntry) bool {
	return slices.ContainsFunc(t.createdGrants, func(s *step.CreateGrant) bool {
		return s.Name == aws.ToString(g.Name) && s.Grantee == aws.ToString(g.GranteePrincipal)
	})
}

func operationsOf(g kmstypes.GrantListEntry) string {
	var names []string
	for _, operation := range g.Operations {
		names = append(names, string(operation))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// accountIn is the account in an ARN, or the text itself where it is none: KMS shows either.
func accountOf(text string) string {
	if parts := strings.Split(text, ":"); len(parts) > 4 {
		return parts[4]
	}
	return text
}

func (t *executor) grants(ctx context.Context, at distribution.Location, in *kms.ListGrantsInput) ([]kmstypes.GrantListEntry, error) {
	var all []kmstypes.GrantListEntry
	in.Limit = aws.Int32(100)
	pages := kms.NewListGrantsPaginator(t.pool.KMS(at), in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Grants...)
	}
	return all, nil
}
