// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CreateGrant lets a principal use a key. The same name with the same parameters is the same grant, however often it is made (rule 3.2.6).
type CreateGrant struct {
	Base
	KeyARN     string
	Name       string
	Grantee    string   // ARN
	Operations []string // sorted
	Retiring   string   // ARN of who may retire it besides; "": nobody
	Lasting    bool     // it stays: an outcome of the run
}

// Permissions returns the actions that the step uses.
func (s *CreateGrant) Permissions() []Permission {
	if s.Lasting {
		return []Permission{{"kms:CreateGrant", s.KeyARN, "8.3"}}
	}
	return []Permission{{"kms:CreateGrant", s.KeyARN, "3.2.6"}}
}

// Granted is the grant that the step makes, without its id.
func (s *CreateGrant) Granted() distribution.KeyGrantResult {
	return distribution.KeyGrantResult{At: s.Location, KeyARN: s.KeyARN, Name: s.Name, Grantee: s.Grantee, Operations: s.Operations}
}

func (s *CreateGrant) ResourceID() string { return s.KeyARN }

func (s *CreateGrant) String() string {
	if !s.Lasting {
		return fmt.Sprintf("let %s use %s for the time of its copies, by the grant %q", s.Grantee, s.KeyARN, s.Name)
	}
	return fmt.Sprintf("let %s use %s by the %s", s.Grantee, s.KeyARN, s.Granted().Text())
}
