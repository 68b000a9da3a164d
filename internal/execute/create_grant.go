// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// createGrant creates a grant. KMS returns the existing grant if one has the same name and parameters (rule 3.2.6).
func (t *executor) createGrant(ctx context.Context, s *step.CreateGrant) StepOutcome {
	if s.Name == "" {
		return StepOutcome{Err: errors.New("a grant without a name would be made anew by every run")}
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	in := createGrantInput(s)
	if s.Retiring != "" {
		in.RetiringPrincipal = aws.String(s.Retiring)
	}

	output, err := t.pool.KMS(s.Location).CreateGrant(graceCtx, in)
	if awsclient.Code(err) == "InvalidArnException" && strings.Contains(err.Error(), s.Retiring) && s.Retiring != "" {
		// the role of a session may have an unknown path. The account of the grant can still revoke it
		in.RetiringPrincipal = nil
		output, err = t.pool.KMS(s.Location).CreateGrant(graceCtx, in)
	}

	if err != nil {
		return StepOutcome{Err: err}
	}

	t.recordCreatedID(aws.ToString(output.GrantId))
	return StepOutcome{ID: aws.ToString(output.GrantId)}
}

// createGrantInput returns the call without the retiring principal.
func createGrantInput(s *step.CreateGrant) *kms.CreateGrantInput {
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

func (t *executor) dryRunCreateGrant(s *step.CreateGrant) dryRun {
	in := createGrantInput(s)
	in.DryRun = aws.Bool(true)
	d := newDryRun(t.pool.KMS(s.Location).CreateGrant, in, s, "kms:CreateGrant "+string(s.ID))
	d.isOwnCall = true
	return d
}
