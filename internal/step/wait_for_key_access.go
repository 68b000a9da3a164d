// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
)

// WaitForKeyAccess waits until a destination's credentials can use a key of the source account. A new grant takes
// minutes to be effective (rule 3.2.6).
type WaitForKeyAccess struct {
	Base
	KeyARN string // in any Region
}

func (s *WaitForKeyAccess) Permissions() []Permission {
	return []Permission{{"kms:DescribeKey", s.KeyARN, "3.2.6"}}
}

func (s *WaitForKeyAccess) ResourceID() string { return s.KeyARN }

func (s *WaitForKeyAccess) String() string {
	return "wait until account " + s.Location.Account + " may use " + s.KeyARN
}

func (s *WaitForKeyAccess) Doing(w Words) string {
	return fmt.Sprintf("Waiting until %s may use %s", w.Account(s.Location), w.Key(s.KeyARN))
}

var _ = register(&WaitForKeyAccess{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*WaitForKeyAccess).start(env) },
})

func (s *WaitForKeyAccess) start(env Env) Attempt {
	attempt := &waitForKeyAccess{step: s}
	key, err := arn.Parse(s.KeyARN)
	if err != nil {
		attempt.describe = func(context.Context) error { return err }
		return attempt
	}

	client := env.Clients.KMSIn(s.Location, key.Region)
	attempt.describe = func(ctx context.Context) error {
		_, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(s.KeyARN)})
		return err
	}
	return attempt
}

// waitForKeyAccess holds no client. A type that is converted to an interface links all operations of the clients
// that it can reach.
type waitForKeyAccess struct {
	step     *WaitForKeyAccess
	describe func(context.Context) error // with the destination's credentials, in the Region of the key
	wait     consistencyWait
}

// Do describes the key until AWS allows it.
func (a *waitForKeyAccess) Do(ctx context.Context) (Outcome, error) {
	err := a.describe(ctx)
	if awsclient.IsUnauthorized(err) || awsclient.IsNotFound(err) {
		return Outcome{}, a.wait.retry(err)
	}
	return Outcome{}, err
}
