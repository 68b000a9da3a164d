// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CreateGrant creates a grant that lets a principal use a key. Repeating it with the same name and parameters
// returns the same grant (rule 3.2.6).
type CreateGrant struct {
	Base
	KeyARN     string
	Name       string
	Grantee    string   // ARN
	Operations []string // sorted
	Retiring   string   // ARN of the retiring principal. Empty for none
	Lasting    bool     // the grant is a result of the run and stays
}

func (s *CreateGrant) Permissions() []Permission {
	if s.Lasting {
		return []Permission{{"kms:CreateGrant", s.KeyARN, "8.3"}}
	}
	return []Permission{{"kms:CreateGrant", s.KeyARN, "3.2.6"}}
}

// Granted returns the grant without its ID.
func (s *CreateGrant) Granted() distribution.KeyGrantResult {
	return distribution.KeyGrantResult{
		At:         s.Location,
		KeyARN:     s.KeyARN,
		Name:       s.Name,
		Grantee:    s.Grantee,
		Operations: s.Operations,
	}
}

func (s *CreateGrant) ResourceID() string { return s.KeyARN }

func (s *CreateGrant) String() string {
	if !s.Lasting {
		return fmt.Sprintf("let %s use %s for the time of its copies, by the grant %q", s.Grantee, s.KeyARN, s.Name)
	}
	return fmt.Sprintf("let %s use %s by the %s", s.Grantee, s.KeyARN, s.Granted().Text())
}

func (s *CreateGrant) Doing(w Words) string {
	return fmt.Sprintf("Creating a grant on %s for %s", w.Key(s.KeyARN), s.Grantee)
}

func (s *CreateGrant) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "create %s", Singular: "KMS grant"}}
}

func (s *CreateGrant) Role() Role {
	if s.Lasting {
		return CompletesImage
	}
	return Prepares
}

func (s *CreateGrant) IsLasting() bool { return s.Lasting }

func (s *CreateGrant) Audience() []string { return []string{distribution.ARNAccount(s.Grantee)} }

// PolicyCondition limits grants to the one that the step creates.
func (s *CreateGrant) PolicyCondition(action string) (distribution.Condition, bool) {
	if action != "kms:CreateGrant" {
		return nil, false
	}
	return distribution.Condition{
		"StringEquals":              {"kms:GranteePrincipal": {s.Grantee}},
		"ForAllValues:StringEquals": {"kms:GrantOperations": s.Operations},
	}, true
}

func (s *CreateGrant) Result(o Outcome) Result {
	if !s.Lasting || o.Err != nil {
		return Result{}
	}
	granted := s.Granted()
	granted.GrantID = o.ID
	return Result{Grant: &granted}
}

var _ = register(&CreateGrant{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*CreateGrant).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*CreateGrant).dryRuns(env) },
})

func (s *CreateGrant) start(env Env) Attempt { return newAttempt(s, env, env.createGrant) }

func (s *CreateGrant) dryRuns(env Env) []DryRun {
	in := createGrantInput(s)
	in.DryRun = aws.Bool(true)
	d := newDryRun(s, "kms:CreateGrant "+string(s.ID), env.Clients.KMS(s.Location).CreateGrant, in)
	d.IsOwnCall = true
	return []DryRun{d}
}

// createGrant creates a grant. KMS returns the existing grant if one has the same name and parameters (rule 3.2.6).
func (r *Run) createGrant(ctx context.Context, _ *attempt, s *CreateGrant) (Outcome, error) {
	if s.Name == "" {
		return Outcome{}, errors.New("a grant without a name would be made anew by every run")
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	in := createGrantInput(s)
	if s.Retiring != "" {
		in.RetiringPrincipal = aws.String(s.Retiring)
	}

	output, err := r.Clients.KMS(s.Location).CreateGrant(graceCtx, in)
	if awsclient.Code(err) == "InvalidArnException" && strings.Contains(err.Error(), s.Retiring) && s.Retiring != "" {
		// the role of a session may have an unknown path. The account of the grant can still revoke it
		in.RetiringPrincipal = nil
		output, err = r.Clients.KMS(s.Location).CreateGrant(graceCtx, in)
	}

	if err != nil {
		return Outcome{}, err
	}

	r.recordCreatedID(aws.ToString(output.GrantId))
	return Outcome{ID: aws.ToString(output.GrantId)}, nil
}

// createGrantInput returns the input of CreateGrant, without the retiring principal. createGrant adds it and removes it
// again if KMS refuses its ARN. A dry run must not fail for that.
func createGrantInput(s *CreateGrant) *kms.CreateGrantInput {
	in := &kms.CreateGrantInput{
		KeyId:            aws.String(s.KeyARN),
		Name:             aws.String(s.Name),
		GranteePrincipal: aws.String(s.Grantee),
	}
	for _, operation := range s.Operations {
		in.Operations = append(in.Operations, kmstypes.GrantOperation(operation))
	}
	return in
}
