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

// createGrant makes a grant, or finds the one of its name and parameters: KMS sees to that (3.2.6).
func (t *executor) createGrant(ctx context.Context, s *step.CreateGrant) StepOutcome {
	if s.Name == "" {
		return StepOutcome{Err: errors.New("a grant without a name would be made anew by every run")}
	}
	lasting, release := withGracePeriod(ctx)
	defer release()
	in := createGrantInput(s)
	if s.Retiring != "" {
		in.RetiringPrincipal = aws.String(s.Retiring)
	}
	made, err := t.pool.KMS(s.Location).CreateGrant(lasting, in)
	if awsclient.Code(err) == "InvalidArnException" && strings.Contains(err.Error(), s.Retiring) && s.Retiring != "" {
		in.RetiringPrincipal = nil // of a session, the path of its role is not known; who made the grant can revoke it all the same
		made, err = t.pool.KMS(s.Location).CreateGrant(lasting, in)
	}
	if err != nil {
		return StepOutcome{Err: err}
	}
	t.recordCreatedID(aws.ToString(made.GrantId))
	return StepOutcome{ID: aws.ToString(made.GrantId)}
}

// grantOf is the call, but for who may retire the grant besides.
func createGrantInput(s *step.CreateGrant) *kms.CreateGrantInput {
	in := &kms.CreateGrantInput{KeyId: aws.String(s.KeyARN), Name: aws.String(s.Name), GranteePrincipal: aws.String(s.Grantee)}
	for _, operation := range s.Operations {
		in.Operations = append(in.Operations, kmstypes.GrantOperation(operation))
	}
	return in
}

func (t *executor) dryRunCreateGrant(s *step.CreateGrant) dryRun {
	in := createGrantInput(s)
	in.DryRun = aws.Bool(true)
	f := newDryRun(t.pool.KMS(s.Location).CreateGrant, in, s, "kms:CreateGrant "+string(s.ID))
	f.isOwnCall = true
	return f
}
