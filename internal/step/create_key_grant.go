// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CreateGrant creates a grant that lets a principal use a key. Repeating it with the same name and parameters
// returns the same grant (rule 3.2.6).
type CreateGrant struct {
	Base
	KeyARN     string
	Name       string
	Grantee    string   // ARN
	Operations []string // sorted
	Retiring   string   // ARN of the retiring principal. Empty for none
	Lasting    bool     // the grant is a result of the run and stays
}

func (s *CreateGrant) Permissions() []Permission {
	if s.Lasting {
		return []Permission{{"kms:CreateGrant", s.KeyARN, "8.3"}}
	}
	return []Permission{{"kms:CreateGrant", s.KeyARN, "3.2.6"}}
}

// Granted returns the grant without its ID.
func (s *CreateGrant) Granted() distribution.KeyGrantResult {
	return distribution.KeyGrantResult{
		At:         s.Location,
		KeyARN:     s.KeyARN,
		Name:       s.Name,
		Grantee:    s.Grantee,
		Operations: s.Operations,
	}
}

func (s *CreateGrant) ResourceID() string { return s.KeyARN }

func (s *CreateGrant) String() string {
	if !s.Lasting {
		return fmt.Sprintf("let %s use %s for the time of its copies, by the grant %q", s.Grantee, s.KeyARN, s.Name)
	}
	return fmt.Sprintf("let %s use %s by the %s", s.Grantee, s.KeyARN, s.Granted().Text())
}
