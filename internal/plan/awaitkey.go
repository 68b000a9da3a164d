// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

// AwaitKey waits until the role at At may use a key that a grant gives it: what KMS has granted is seen everywhere within five minutes
// (rules 3.2.6, 4.4.4).
type AwaitKey struct {
	Head
	KeyARN string // in any Region
}

// Rights of the step.
func (s *AwaitKey) Rights() []Right { return []Right{{"kms:DescribeKey", s.KeyARN, "3.2.6"}} }

func (s *AwaitKey) About() string { return s.KeyARN }

func (s *AwaitKey) String() string {
	return "wait until account " + s.At.Account + " may use " + s.KeyARN
}
