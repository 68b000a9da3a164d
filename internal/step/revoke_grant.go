// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// RevokeGrant revokes a temporary grant and reads back that it is gone.
type RevokeGrant struct {
	Base
	KeyARN  string
	Grant   Ref
	Name    string // finds the grant if the response with its ID was lost
	Grantee string // ARN
}

func (s *RevokeGrant) Permissions() []Permission {
	return []Permission{{"kms:RevokeGrant", s.KeyARN, "3.2.7"}, {"kms:ListGrants", s.KeyARN, "3.2.9"}}
}

func (s *RevokeGrant) ResourceID() string { return s.KeyARN }

func (s *RevokeGrant) String() string {
	return fmt.Sprintf("take %s from %s again: revoke the grant %q", s.KeyARN, s.Grantee, s.Name)
}

func (s *RevokeGrant) Doing(w Words) string {
	return fmt.Sprintf("Revoking the grant on %s for %s", w.Key(s.KeyARN), s.Grantee)
}

func (s *RevokeGrant) Summary() Summary {
	return Summary{
		Phrase:  Phrase{Text: "revoke %s", Singular: "KMS grant"},
		Cleanup: Phrase{Text: "Revoking %s", Singular: "grant"},
	}
}

var _ = register(&RevokeGrant{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*RevokeGrant).start(env) },
})

func (s *RevokeGrant) start(env Env) Attempt { return newAttempt(s, env, env.revokeGrant) }

// VerifyGrantsRevoked reports grants that accounts created while they had a temporary grant. Those grants stay when
// the temporary grant is revoked.
type VerifyGrantsRevoked struct {
	Base
	KeyARN   string
	Accounts []string  // accounts with a temporary grant, sorted
	Since    time.Time // creation of the first temporary grant
}

func (s *VerifyGrantsRevoked) Permissions() []Permission {
	return []Permission{{"kms:ListGrants", s.KeyARN, "3.2.9"}}
}

func (s *VerifyGrantsRevoked) ResourceID() string { return s.KeyARN }

func (s *VerifyGrantsRevoked) String() string {
	return fmt.Sprintf("look whether the accounts with a grant let others use %s", s.KeyARN)
}

var _ = register(&VerifyGrantsRevoked{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*VerifyGrantsRevoked).start(env) },
})

func (s *VerifyGrantsRevoked) start(env Env) Attempt {
	return newAttempt(s, env, env.verifyGrantsRevoked)
}

// lostGrantTimeout is how long findLostGrant polls for a grant whose CreateGrant call was interrupted.
const lostGrantTimeout = 30 * time.Second

// revokeGrant revokes a grant and reads it back. It succeeds if the grant is already revoked.
func (r *Run) revokeGrant(ctx context.Context, a *attempt, s *RevokeGrant) (Outcome, error) {
	id, err := r.grantToRevoke(ctx, a, s)
	if err != nil || id == "" {
		return Outcome{}, err
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

	if !a.changed {
		proof, err := r.grantProof(ctx, s.Location, s.KeyARN, id)
		if errors.Is(err, errNotShown) && s.keepPolling(a) { // eventual consistency (rule 4.4.4)
			return Outcome{}, RetryAfter{Backoff(a.polls)}
		}
		if err != nil {
			proof, err = r.proofWithoutRead(ctx, provenance.Resource{Kind: provenance.Grant, ID: id}, err)
		}

		switch {
		case errors.Is(err, errNotShown), awsclient.IsNotFound(err):
			return Outcome{ID: id}, nil
		case err == nil:
			in := &kms.RevokeGrantInput{KeyId: aws.String(s.KeyARN), GrantId: aws.String(proof.ID())}
			_, err = r.Clients.KMS(s.Location).RevokeGrant(ctx, in)
		}

		if ignoreNotFound(err) != nil {
			return Outcome{ID: id, Retained: retained(Reason(err))}, err
		}

		a.changed = true
	}

	in := &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN), GrantId: aws.String(id)}
	remaining, err := r.grants(ctx, s.Location, in)
	if ignoreNotFound(err) != nil {
		return Outcome{ID: id, Retained: retained("revoked, but it could not be read back: " + err.Error())}, err
	}

	if len(remaining) > 0 {
		if a.keepPolling() { // eventual consistency (rule 4.4.4)
			return Outcome{}, RetryAfter{Backoff(a.polls)}
		}
		return Outcome{ID: id, Retained: retained("revoked, and still shown")}, nil
	}

	return Outcome{ID: id}, nil
}

// keepPolling reports whether to poll again for a grant of this run that KMS does not show yet.
func (s *RevokeGrant) keepPolling(a *attempt) bool {
	return s.Grant.From != "" && a.keepPolling() && a.polls < 5
}

// grantToRevoke returns the ID of the grant that a step revokes. Empty if none was created.
func (r *Run) grantToRevoke(ctx context.Context, a *attempt, s *RevokeGrant) (string, error) {
	if id := a.id(s.Grant); id != "" {
		return id, nil
	}

	created := a.outcomes.Of(s.Grant.From)
	if created.Err == nil || errors.Is(created.Err, ErrSkipped) || !awsclient.IsOutcomeUnknown(created.Err) {
		return "", nil
	}
	return r.findLostGrant(ctx, a, s)
}

// findLostGrant finds a grant by its name, which is unique to this run.
func (r *Run) findLostGrant(ctx context.Context, a *attempt, s *RevokeGrant) (string, error) {
	grants, err := r.grants(
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

	if a.missingSince.IsZero() {
		a.missingSince = time.Now()
	}

	if time.Since(a.missingSince) < lostGrantTimeout {
		a.polls++
		return "", RetryAfter{Backoff(a.polls)}
	}

	return "", nil
}

// verifyGrantsRevoked reports grants on a key that temporarily permitted accounts created for others. Grants of AWS
// services and of this run do not count. It revokes none, because the account may have another permission for them.
func (r *Run) verifyGrantsRevoked(ctx context.Context, _ *attempt, s *VerifyGrantsRevoked) (Outcome, error) {
	grants, err := r.grants(ctx, s.Location, &kms.ListGrantsInput{KeyId: aws.String(s.KeyARN)})
	if err != nil {
		return Outcome{}, err
	}

	var notes []distribution.Finding
	for _, g := range grants {
		account := accountOf(aws.ToString(g.IssuingAccount))
		if !slices.Contains(s.Accounts, account) || aws.ToTime(g.CreationDate).Before(s.Since) || isServiceGrant(g) ||
			r.isCreatedByPlan(g) {
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

	return Outcome{Notes: notes}, nil
}

// isServiceGrant reports whether AWS created a grant for itself. EC2's grants are for sessions of a role whose
// reserved name no account can use (rule 3.1.11).
func isServiceGrant(g kmstypes.GrantListEntry) bool {
	grantee := aws.ToString(g.GranteePrincipal)
	return grantee == "" || strings.HasSuffix(grantee, ".amazonaws.com") || strings.Contains(grantee, ":assumed-role/aws:")
}

// isCreatedByPlan reports whether a step of this run created a grant.
func (r *Run) isCreatedByPlan(g kmstypes.GrantListEntry) bool {
	return slices.ContainsFunc(r.createdGrants, func(s *CreateGrant) bool {
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

func (r *Run) grants(
	ctx context.Context,
	at distribution.Location,
	in *kms.ListGrantsInput,
) ([]kmstypes.GrantListEntry, error) {
	var all []kmstypes.GrantListEntry
	in.Limit = aws.Int32(100)
	pages := kms.NewListGrantsPaginator(r.Clients.KMS(at), in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Grants...)
	}
	return all, nil
}
