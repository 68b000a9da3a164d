// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

// AwaitKey waits until the role at At may use a key that a grant gives it: what KMS has granted is seen everywhere within five minutes
// (rules 3.2.6, 4.4.4).
type WaitForKeyAccess struct {
	Base
	KeyARN string // in any Region
}

// Rights of the step.
func (s *WaitForKeyAccess) Permissions() []Permission {
	return []Permission{{"kms:DescribeKey", s.KeyARN, "3.2.6"}}
}

func (s *WaitForKeyAccess) ResourceID() string { return s.KeyARN }

func (s *WaitForKeyAccess) String() string {
	return "wait until account " + s.Location.Account + " may use " + s.KeyARN
}
