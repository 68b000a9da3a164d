// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"

// Signing is what the tags of a resource that a step creates say, and the key that signs them.
type Signing struct {
	Kind      provenance.Kind
	Key       provenance.SigningKey
	Statement provenance.Statement // without ResourceID, which the creating call returns
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

// Token returns the evidence of a creating call. A repeat of the call has the same purpose. A call that creates again
// after a failure has another one.
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
