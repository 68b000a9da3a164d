// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"time"
)

// RevokeGrant revokes a temporary grant and reads back that it is gone.
type RevokeGrant struct {
	Base
	KeyARN  string
	Grant   Ref
	Name    string // finds the grant if the response with its ID was lost
	Grantee string // ARN
}

func (s *RevokeGrant) Permissions() []Permission {
	return []Permission{{"kms:RevokeGrant", s.KeyARN, "3.2.7"}, {"kms:ListGrants", s.KeyARN, "3.2.9"}}
}

func (s *RevokeGrant) ResourceID() string { return s.KeyARN }

func (s *RevokeGrant) String() string {
	return fmt.Sprintf("take %s from %s again: revoke the grant %q", s.KeyARN, s.Grantee, s.Name)
}

// VerifyGrantsRevoked reports grants that accounts created while they had a temporary grant. Those grants stay when
// the temporary grant is revoked.
type VerifyGrantsRevoked struct {
	Base
	KeyARN   string
	Accounts []string  // accounts with a temporary grant, sorted
	Since    time.Time // creation of the first temporary grant
}

func (s *VerifyGrantsRevoked) Permissions() []Permission {
	return []Permission{{"kms:ListGrants", s.KeyARN, "3.2.9"}}
}

func (s *VerifyGrantsRevoked) ResourceID() string { return s.KeyARN }

func (s *VerifyGrantsRevoked) String() string {
	return fmt.Sprintf("look whether the accounts with a grant let others use %s", s.KeyARN)
}
