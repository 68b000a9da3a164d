// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import "fmt"

// CreateEmptySnapshot creates a snapshot without blocks, for test copies (rule 4.9.1). It ends when EC2 shows it as
// completed. If it fails, the run continues without test copies. DeleteSnapshot reverts it.
type CreateEmptySnapshot struct {
	Base
	KeyARN      string
	GiB         int64
	Description string            // without the token of the call
	Tags        map[string]string // set by the creating call
	Signing     Signing
}

func (s *CreateEmptySnapshot) Permissions() []Permission {
	return []Permission{
		{"ebs:StartSnapshot", s.Location.SnapshotARN(""), "4.9.6"},
		{"ebs:CompleteSnapshot", s.Location.SnapshotARN("*"), "4.9.5"},
		{"ec2:CreateTags", s.Location.SnapshotARN("*"), "4.9.6"},
		{"ec2:DescribeSnapshots", "*", "4.2.2"},
		{"kms:GenerateDataKey", s.KeyARN, "4.9.4"},
	}
}

func (s *CreateEmptySnapshot) ResourceID() string { return s.KeyARN }

func (s *CreateEmptySnapshot) String() string {
	return fmt.Sprintf("create an empty snapshot of %d GiB in %s under %s", s.GiB, s.Location, s.KeyARN)
}
