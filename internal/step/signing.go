// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"

// Signing holds the statement in a resource's tags and the key that signs it.
type Signing struct {
	Kind      provenance.Kind
	Key       provenance.SigningKey
	Statement provenance.Statement // without the ID, which the creating call returns
}

// CreationTags returns the tags for the creating call.
func (s Signing) CreationTags() map[string]string {
	return provenance.CreationTags(s.Statement.Source, s.Statement.Run)
}

// Tags returns the signed tags of the created resource.
func (s Signing) Tags(resourceID string) map[string]string {
	s.Statement.ResourceID = resourceID
	return s.Key.SignedTags(s.Statement)
}

// Token returns the token of a creating call. A repeated call must have the same purpose, and a call that replaces
// a failed resource another one.
func (s Signing) Token(purpose string) provenance.CallToken {
	return s.Key.CallToken(provenance.Call{
		Kind:    s.Kind,
		Account: s.Statement.Account,
		Region:  s.Statement.Region,
		Source:  s.Statement.Source,
		Run:     s.Statement.Run,
		Purpose: purpose,
	})
}
