// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package iampolicy

import (
	"maps"
	"slices"
	"strings"
)

// Grant is a KMS grant: it stands beside the key policy, and allows only (rule 3.2.6, KMS-DG:grants).
type Grant struct {
	ID             string
	Grantee        string   // ARN of an account's root, a role, a user or a session; or a service principal
	Retiring       string   // who may retire it besides: the same forms; "" for nobody
	IssuingAccount string   // the account in which it was made, which may retire it too: 12 digits, or the ARN of its root
	Operations     []string // "Decrypt", "ReEncryptFrom", ...
	Constraints    GrantConstraints
}

// GrantConstraints limit what a grant allows.
type GrantConstraints struct {
	EncryptionContextEquals map[string]string // the request's encryption context has to be this; nil: no constraint
	EncryptionContextSubset map[string]string // ... has to hold these pairs; nil: no constraint
	SourceARN               string            // on whose behalf an AWS service asks; "": no constraint
}

// grantOperations are what grants can allow. An operation and the action that it allows have one name (KMS-DG:grants).
var grantOperations = []string{
	"CreateGrant", "Decrypt", "DeriveSharedSecret", "DescribeKey", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair",
	"GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "GenerateMac", "GetPublicKey", "ReEncryptFrom",
	"ReEncryptTo", "RetireGrant", "Sign", "Verify", "VerifyMac",
}

// standing is how the grant knows the principal of a request; stranger when it does not allow the action.
func (g Grant) standing(e *evaluation) standing {
	operation := strings.TrimPrefix(e.Action, "kms:")
	source := g.Constraints.SourceARN
	switch {
	case !slices.Contains(g.Operations, operation):
		return stranger
	case source != "" && e.byService() && !slices.Equal(e.values("aws:sourcearn"), []string{source}):
		return stranger
	case operation == "CreateGrant":
		if e.Grant == nil || !g.covers(*e.Grant) {
			return stranger
		}
	case operation != "DescribeKey" && operation != "RetireGrant": // these have no encryption context
		if !g.Constraints.admit(e.encryptionContext()) {
			return stranger
		}
	}
	return party(g.Grantee).standing(e.Principal)
}

// retirement is how the grant knows a principal that would retire it: as the one named for that, as of the account that
// made it or owns the key, or as a grantee who may (KMS-DG:grant-delete).
func (g Grant) retirement(e *evaluation) standing {
	best := g.standing(e)
	for _, p := range []string{g.Retiring, g.IssuingAccount, e.ResourceAccount} {
		best = max(best, party(p).standing(e.Principal))
	}
	return best
}

// covers reports whether a child allows no more than its parent (KMS-DG:create-grant-overview).
func (g Grant) covers(child Grant) bool {
	for _, operation := range child.Operations {
		if !slices.Contains(g.Operations, operation) {
			return false
		}
	}
	return g.Constraints.cover(child.Constraints)
}

// cover reports whether other constraints are at least as strict.
func (c GrantConstraints) cover(other GrantConstraints) bool {
	switch {
	case c.SourceARN != "" && c.SourceARN != other.SourceARN:
		return false
	case c.EncryptionContextEquals != nil:
		return other.EncryptionContextEquals != nil && maps.Equal(c.EncryptionContextEquals, other.EncryptionContextEquals)
	case c.EncryptionContextSubset != nil:
		return hasPairs(other.EncryptionContextEquals, c.EncryptionContextSubset) || hasPairs(other.EncryptionContextSubset, c.EncryptionContextSubset)
	}
	return true
}

// admit reports whether a request with this encryption context keeps to the constraints; it is compared in its own case.
func (c GrantConstraints) admit(context map[string]string) bool {
	return (c.EncryptionContextEquals == nil || maps.Equal(context, c.EncryptionContextEquals)) && hasPairs(context, c.EncryptionContextSubset)
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

// kind is the value of kms:GrantConstraintType; "" without one.
func (c GrantConstraints) kind() string {
	switch {
	case c.EncryptionContextEquals != nil:
		return "EncryptionContextEquals"
	case c.EncryptionContextSubset != nil:
		return "EncryptionContextSubset"
	}
	return ""
}

// encryptionContext is that of the request, as it is there: its case counts.
func (e *evaluation) encryptionContext() map[string]string {
	pairs := map[string]string{}
	const family = "kms:EncryptionContext:"
	for name, values := range e.Context {
		if hasPrefix(name, family) && len(values) > 0 {
			pairs[name[len(family):]] = values[0]
		}
	}
	return pairs
}

// byService reports whether an AWS service asks, for itself or for the principal.
func (e *evaluation) byService() bool {
	return e.Principal.service() || e.values("kms:viaservice") != nil || slices.Equal(e.values("aws:viaawsservice"), []string{"true"})
}
