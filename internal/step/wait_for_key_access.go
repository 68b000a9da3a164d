// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
)

// WaitForKeyAccess waits until a destination's credentials can use a key of the source account: a new grant takes
// minutes to be seen everywhere (rule 3.2.6).
type WaitForKeyAccess struct {
	Base
	KeyARN string // in any Region
}

// Permissions returns the action that the step uses.
func (s *WaitForKeyAccess) Permissions() []Permission {
	return []Permission{{"kms:DescribeKey", s.KeyARN, "3.2.6"}}
}

// ResourceID returns the key.
func (s *WaitForKeyAccess) ResourceID() string { return s.KeyARN }

func (s *WaitForKeyAccess) String() string {
	return "wait until account " + s.Location.Account + " may use " + s.KeyARN
}

// DryRuns returns nothing: the grant does not exist yet.
func (s *WaitForKeyAccess) DryRuns(Env) []DryRun { return nil }

// Start returns an attempt.
func (s *WaitForKeyAccess) Start(env Env) Attempt { return &waitForKeyAccess{step: s, env: env} }

type waitForKeyAccess struct {
	step *WaitForKeyAccess
	env  Env
	wait consistencyWait
}

// Do describes the key with the destination's credentials, in the Region of the key.
func (a *waitForKeyAccess) Do(ctx context.Context) (Outcome, error) {
	key, err := arn.Parse(a.step.KeyARN)
	if err != nil {
		return Outcome{}, err
	}
	client := a.env.Clients.KMSIn(a.step.Location, key.Region)
	_, err = client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(a.step.KeyARN)})
	if awsclient.IsUnauthorized(err) || awsclient.IsNotFound(err) {
		return Outcome{}, a.wait.retry(err)
	}
	return Outcome{}, err
}
