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

// lostGrantTimeout is how long findLostGrant polls for a grant whose CreateGrant call was interrupted.
const lostGrantTimeout = 30 * time.Second

// revokeGrant revokes a grant and reads it back. It succeeds if the grant is already revoked.
func (t *executor) revokeGrant(ctx context.Context, j *stepRun, s *step.RevokeGrant) StepOutcome {
	id := j.id(s.Grant)
	if id == "" {
		created := j.outcomes[s.Grant.From]
		if created.Err == nil || errors.Is(created.Err, errSkipped) || !awsclient.IsOutcomeUnknown(created.Err) {
			return StepOutcome{}
		}
		var err error
		if id, err = t.findLostGrant(ctx, j, s); err != nil || id == "" {
			return StepOutcome{Err: err}
		}
	}

	retained := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{
			{
				At:       s.Location,
				Kind:     "grant",
				Resource: id,
				Why:      fmt.Sprintf("%q on %s for %s: %s", s.Name, s.KeyARN, s.Grantee, why),
			},
		}
	}

	if !j.state.changed {
		proof, err := t.grantProof(ctx, s.Location, s.KeyARN, id)
		switch {
		case errors.Is(err, errNotShown) && s.Grant.From != "" && j.keepPolling() && j.state.polls < 5:
			// eventual consistency (rule 4.4.4)
			return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
		case errors.Is(err, errNotShown), awsclient.IsNotFound(err):
			return StepOutcome{ID: id}
		case err == nil:
			in := &kms.RevokeGrantInput{KeyId: aws.String(s.KeyARN), GrantId: aws.String(proof.ID())}
			_, err = t.pool.KMS(s.Location).RevokeGrant(ctx, in)
		}

		if err != nil && !awsclient.IsNotFound(err) {
			return StepOutcome{ID: id, Err: err, Retained: retained(reason(err))}
		}

		j.state.changed = true
	}

	remaining, err := t.grants(ctx, s.Location, &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN), GrantId: aws.String(id)})
	switch {
	case err != nil && !awsclient.IsNotFound(err):
		return StepOutcome{ID: id, Err: err, Retained: retained("revoked, but it could not be read back: " + err.Error())}
	case len(remaining) > 0 && j.keepPolling(): // eventual consistency (rule 4.4.4)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	case len(remaining) > 0:
		return StepOutcome{ID: id, Retained: retained("revoked, and still shown")}
	}

	return StepOutcome{ID: id}
}

// findLostGrant finds a grant by its name, which is unique to this run.
func (t *executor) findLostGrant(ctx context.Context, j *stepRun, s *step.RevokeGrant) (string, error) {
	grants, err := t.grants(
		ctx,
		s.Location,
		&kms.ListGrantsInput{KeyId: aws.String(s.KeyARN), GranteePrincipal: aws.String(s.Grantee)},
	)
	if err != nil {
		return "", err
	}

	for _, g := range grants {
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

// verifyGrantsRevoked reports grants on a key that temporarily permitted accounts created for others. Grants of AWS
// services and of this run do not count. It revokes none, because the account may have another permission for them.
func (t *executor) verifyGrantsRevoked(ctx context.Context, s *step.VerifyGrantsRevoked) StepOutcome {
	grants, err := t.grants(ctx, s.Location, &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN)})
	if err != nil {
		return StepOutcome{Err: err}
	}

	var notes []distribution.Finding
	for _, g := range grants {
		account := accountOf(aws.ToString(g.IssuingAccount))
		if !slices.Contains(s.Accounts, account) || aws.ToTime(g.CreationDate).Before(s.Since) || isServiceGrant(g) ||
			t.isCreatedByPlan(g) {
			continue
		}

		notes = append(notes, distribution.Finding{
			Level:     distribution.Warning,
			Code:      distribution.CodeGrantDelegated,
			Reference: "3.2.6",
			Field:     "source_key_access",
			Location:  s.Location,
			Operation: "kms:ListGrants",
			Principal: aws.ToString(g.GranteePrincipal),
			Resource:  s.KeyARN,
			Summary: fmt.Sprintf(
				"account %s let %s use the key by a grant of its own",
				account,
				aws.ToString(g.GranteePrincipal),
			),
			Detail: fmt.Sprintf(
				"the grant %s (%q, %s) was created while the account had a grant, and stays when that grant is revoked",
				aws.ToString(g.GrantId),
				aws.ToString(g.Name),
				operationsOf(g),
			),
			Remediation: fmt.Sprintf(
				"find out what for; to end it: aws kms revoke-grant --region %s --key-id %s --grant-id %s",
				s.Location.Region,
				s.KeyARN,
				aws.ToString(g.GrantId),
			),
		})
	}

	return StepOutcome{Notes: notes}
}

// isServiceGrant reports whether AWS created a grant for itself. EC2's grants are for sessions of a role whose
// reserved name no account can use (rule 3.1.11).
func isServiceGrant(g kmstypes.GrantListEntry) bool {
	grantee := aws.ToString(g.GranteePrincipal)
	return grantee == "" || strings.HasSuffix(grantee, ".amazonaws.com") || strings.Contains(grantee, ":assumed-role/aws:")
}

// isCreatedByPlan reports whether a step of this run created a grant.
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

// accountOf returns the account of an ARN. KMS may show an account ID instead, which it returns as it is.
func accountOf(text string) string {
	if parts := strings.Split(text, ":"); len(parts) > 4 {
		return parts[4]
	}
	return text
}

func (t *executor) grants(
	ctx context.Context,
	at distribution.Location,
	in *kms.ListGrantsInput,
) ([]kmstypes.GrantListEntry, error) {
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
