// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// VerifySnapshot compares a completed copy with the expected snapshot (rule 4.6.1).
type VerifySnapshot struct {
	Base
	ExpectedSnapshot
}

// Permissions returns the permissions of the polls that found the copy completed.
func (s *VerifySnapshot) Permissions() []Permission {
	return []Permission{{"ec2:DescribeSnapshots", "*", "4.6.1"}}
}

func (s *VerifySnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *VerifySnapshot) String() string {
	return "verify the test copy in " + s.Location.String() + ": owner, size, key"
}

func (s *VerifySnapshot) Role() Role { return VerifiesTest }

var _ = register(&VerifySnapshot{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*VerifySnapshot).start(env) },
})

func (s *VerifySnapshot) start(env Env) Attempt { return newAttempt(s, env, verifySnapshot) }

// verifySnapshot compares the last status of a test copy with what was requested.
func verifySnapshot(_ context.Context, a *attempt, s *VerifySnapshot) (Outcome, error) {
	snapshot := a.outcomes.Of(s.Snapshot.From).Snapshot
	if snapshot == nil {
		return Outcome{}, nil
	}

	id := aws.ToString(snapshot.SnapshotId)
	if found := snapshotDifferences("test_copy", id, s.Location.Account, s.ExpectedSnapshot, *snapshot); len(found) > 0 {
		return Outcome{}, &verificationError{image: id, differences: found}
	}

	return Outcome{}, nil
}
