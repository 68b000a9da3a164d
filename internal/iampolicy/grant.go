// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"maps"
	"slices"
	"strings"
)

// Grant is a KMS grant. It allows in addition to the key policy and never denies (rule 3.2.6, KMS-DG:grants).
type Grant struct {
	ID             string
	Grantee        string   // ARN of an account's root, a role, a user or a session; or a service principal
	Retiring       string   // another principal that may retire it, in the same forms; empty if there is none
	IssuingAccount string   // the account that created it, which may retire it: 12 digits, or the ARN of its root
	Operations     []string // "Decrypt", "ReEncryptFrom", ...
	Constraints    GrantConstraints
}

// GrantConstraints limit what a grant allows.
type GrantConstraints struct {
	EncryptionContextEquals map[string]string // must equal the request's encryption context; nil if there is no constraint
	EncryptionContextSubset map[string]string // must be part of the encryption context; nil if there is no constraint
	// the resource on whose behalf an AWS service calls KMS; empty if there is no constraint
	SourceARN string
}

// grantOperations are the operations that a grant can allow. Each has the name of the action that it allows
// (KMS-DG:grants).
var grantOperations = []string{
	"CreateGrant",
	"Decrypt",
	"DeriveSharedSecret",
	"DescribeKey",
	"Encrypt",
	"GenerateDataKey",
	"GenerateDataKeyPair",
	"GenerateDataKeyPairWithoutPlaintext",
	"GenerateDataKeyWithoutPlaintext",
	"GenerateMac",
	"GetPublicKey",
	"ReEncryptFrom",
	"ReEncryptTo",
	"RetireGrant",
	"Sign",
	"Verify",
	"VerifyMac",
}

// match returns how the grant matches the principal of a request. It returns noMatch if it does not allow the action.
func (g Grant) match(e *evaluation) match {
	operation := strings.TrimPrefix(e.Action, "kms:")
	source := g.Constraints.SourceARN

	switch {
	case !slices.Contains(g.Operations, operation):
		return noMatch
	case source != "" && e.byService() && !slices.Equal(e.values("aws:sourcearn"), []string{source}):
		return noMatch
	case operation == "CreateGrant":
		if e.Grant == nil || !g.covers(*e.Grant) {
			return noMatch
		}
	case operation != "DescribeKey" && operation != "RetireGrant": // these have no encryption context
		if !g.Constraints.hold(e.encryptionContext()) {
			return noMatch
		}
	}

	return principalElement(g.Grantee).match(e.Principal)
}

// matchRetiring returns how the grant matches a principal that retires it. The retiring principal, the account that
// created the grant, the account of the key and a grantee with that operation may (KMS-DG:grant-delete).
func (g Grant) matchRetiring(e *evaluation) match {
	best := g.match(e)
	for _, p := range []string{g.Retiring, g.IssuingAccount, e.ResourceAccount} {
		best = max(best, principalElement(p).match(e.Principal))
	}
	return best
}

// covers reports whether everything that the child allows is allowed by the grant (KMS-DG:create-grant-overview).
func (g Grant) covers(child Grant) bool {
	for _, operation := range child.Operations {
		if !slices.Contains(g.Operations, operation) {
			return false
		}
	}
	return g.Constraints.cover(child.Constraints)
}

// cover reports whether every request that meets the other constraints also meets these.
func (c GrantConstraints) cover(other GrantConstraints) bool {
	switch {
	case c.SourceARN != "" && c.SourceARN != other.SourceARN:
		return false
	case c.EncryptionContextEquals != nil:
		return other.EncryptionContextEquals != nil && maps.Equal(c.EncryptionContextEquals, other.EncryptionContextEquals)
	case c.EncryptionContextSubset != nil:
		return hasPairs(other.EncryptionContextEquals, c.EncryptionContextSubset) ||
			hasPairs(other.EncryptionContextSubset, c.EncryptionContextSubset)
	}
	return true
}

// hold reports whether a request with an encryption context meets the constraints. The comparison is case-sensitive.
func (c GrantConstraints) hold(context map[string]string) bool {
	equal := c.EncryptionContextEquals == nil || maps.Equal(context, c.EncryptionContextEquals)
	return equal && hasPairs(context, c.EncryptionContextSubset)
}

// hasPairs reports whether all pairs are in a map.
func hasPairs(all, pairs map[string]string) bool {
	for k, v := range pairs {
		if have, ok := all[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// kind returns the value of kms:GrantConstraintType. Empty if there is no constraint.
func (c GrantConstraints) kind() string {
	switch {
	case c.EncryptionContextEquals != nil:
		return "EncryptionContextEquals"
	case c.EncryptionContextSubset != nil:
		return "EncryptionContextSubset"
	}
	return ""
}

// encryptionContext returns the encryption context of the request, which is case-sensitive.
func (e *evaluation) encryptionContext() map[string]string {
	const family = "kms:EncryptionContext:"
	pairs := map[string]string{}
	for name, values := range e.Context {
		if hasPrefix(name, family) && len(values) > 0 {
			pairs[name[len(family):]] = values[0]
		}
	}
	return pairs
}

// byService reports whether an AWS service calls, for itself or for the principal.
func (e *evaluation) byService() bool {
	return e.Principal.isService() || e.values("kms:viaservice") != nil ||
		slices.Equal(e.values("aws:viaawsservice"), []string{"true"})
}
