// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

// VerifySnapshot compares a completed copy with the expected snapshot (rule 4.6.1).
type VerifySnapshot struct {
	Base
	ExpectedSnapshot
}

// Permissions are those of the polls that found the copy completed.
func (s *VerifySnapshot) Permissions() []Permission {
	return []Permission{{"ec2:DescribeSnapshots", "*", "4.6.1"}}
}

func (s *VerifySnapshot) ResourceID() string { return s.Snapshot.Known }

func (s *VerifySnapshot) String() string {
	return "verify the test copy in " + s.Location.String() + ": owner, size, key"
}
