// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"time"
)

// RevokeGrant ends a temporary grant, and reads back that it has ended.
type RevokeGrant struct {
	Base
	KeyARN  string
	Grant   Ref
	Name    string // what it is found by where its id never came
	Grantee string // ARN
}

// Permissions returns the actions that the step uses.
func (s *RevokeGrant) Permissions() []Permission {
	return []Permission{{"kms:RevokeGrant", s.KeyARN, "3.2.7"}, {"kms:ListGrants", s.KeyARN, "3.2.9"}}
}

func (s *RevokeGrant) ResourceID() string { return s.KeyARN }

func (s *RevokeGrant) String() string {
	return fmt.Sprintf("take %s from %s again: revoke the grant %q", s.KeyARN, s.Grantee, s.Name)
}

// AuditGrants looks who else may use a key, by grants that accounts made while they were admitted to it: such grants do not end with the
// one that they rest on.
type VerifyGrantsRevoked struct {
	Base
	KeyARN   string
	Accounts []string  // that were admitted, sorted
	Since    time.Time // when the first of them was
}

// Permissions returns the actions that the step uses.
func (s *VerifyGrantsRevoked) Permissions() []Permission {
	return []Permission{{"kms:ListGrants", s.KeyARN, "3.2.9"}}
}

func (s *VerifyGrantsRevoked) ResourceID() string { return s.KeyARN }

func (s *VerifyGrantsRevoked) String() string {
	return fmt.Sprintf("look whether the admitted accounts let anybody else use %s", s.KeyARN)
}
