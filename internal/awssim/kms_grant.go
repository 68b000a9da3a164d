// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var grantOperations = []namedOperation{
	newOperation((*World).createGrant),
	newOperation((*World).listGrants),
	newOperation((*World).listRetirableGrants),
	newOperation((*World).retireGrant),
	newOperation((*World).revokeGrant),
}

// grant is a grant on a KMS key. Revoking it does not revoke grants that the grantee created.
type grant struct {
	iampolicy.Grant
	name    string
	created time.Time
}

// grantLimit is the maximum number of grants on a customer managed key (rule 3.2.7).
const grantLimit = 50000

var (
	grantNamePattern   = regexp.MustCompile(`^[a-zA-Z0-9:/_-]{1,256}$`)
	grantIDPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	principalIDPattern = regexp.MustCompile(`^A(ROA|IDA)[A-Z0-9]{12,}$`)
)

// resolveGrantPrincipal returns the ARN of a principal in a grant request, which may name a unique ID.
func (w *World) resolveGrantPrincipal(name *string) (string, error) {
	if name == nil {
		return "", nil
	}

	if principalIDPattern.MatchString(*name) {
		for _, account := range w.accounts.all {
			for _, role := range account.roles.all {
				if role.id == *name {
					return role.arn, nil
				}
			}
			for _, user := range account.users.all {
				if user.id == *name {
					return user.arn, nil
				}
			}
		}
	}

	if *name == "*" || !w.principalExists(*name) {
		return "", badRequest("InvalidArnException", "ARN does not refer to a valid principal: %s", *name)
	}

	return *name, nil
}

func (w *World) parseGrant(c *Call, in *kms.CreateGrantInput) (*grant, error) {
	err := refuseUnmodeled(
		in, "KeyId", "Operations", "Constraints", "DryRun", "GrantTokens", "GranteePrincipal", "Name", "RetiringPrincipal",
	)
	if err != nil {
		return nil, err
	}
	if len(in.Operations) == 0 {
		return nil, validationError(c, "Operations", "[]", "Member must not be null")
	}
	if in.GranteePrincipal == nil {
		return nil, validationError(c, "GranteePrincipal", in.GranteePrincipal, "Member must not be null")
	}
	if in.Name != nil && !matchesPattern(in.Name, grantNamePattern) {
		return nil, validationError(c, "Name", in.Name, "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")
	}

	grantee, err := w.resolveGrantPrincipal(in.GranteePrincipal)
	if err != nil {
		return nil, err
	}

	retiring, err := w.resolveGrantPrincipal(in.RetiringPrincipal)
	if err != nil {
		return nil, err
	}

	created := &grant{
		name: aws.ToString(in.Name), created: c.At,
		Grant: iampolicy.Grant{Grantee: grantee, Retiring: retiring, IssuingAccount: c.caller.account.number},
	}

	for _, operation := range in.Operations {
		created.Operations = append(created.Operations, string(operation))
	}

	if limits := in.Constraints; limits != nil {
		if len(limits.EncryptionContextEquals) > 8 || len(limits.EncryptionContextSubset) > 8 {
			return nil, validationError(
				c, "Constraints", "encryption context", "Member must have length less than or equal to 8",
			)
		}
		created.Constraints = iampolicy.GrantConstraints{
			EncryptionContextEquals: limits.EncryptionContextEquals, EncryptionContextSubset: limits.EncryptionContextSubset,
			SourceARN: aws.ToString(
				limits.SourceArn,
			),
		}
	}

	return created, nil
}

// asymmetricGrantOperations are the operations that a grant on a symmetric key cannot allow.
var asymmetricGrantOperations = []string{
	"Sign", "Verify", "GetPublicKey", "GenerateMac", "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate",
}

func (w *World) createGrant(c *Call, in *kms.CreateGrantInput) (*kms.CreateGrantOutput, error) {
	created, err := w.parseGrant(c, in)
	if err != nil {
		return nil, err
	}
	if err := w.validateGrantTokens(c, in.GrantTokens); err != nil {
		return nil, err
	}

	k, err := w.authorizeKey(c, in.KeyId, keyUse{
		action: "kms:CreateGrant", grant: &created.Grant, context: iampolicy.Context{"kms:GrantIsForAWSResource": {"false"}},
	})
	if err != nil {
		return nil, err
	}
	if k.KeySpec == kmstypes.KeySpecSymmetricDefault &&
		slices.ContainsFunc(created.Operations, func(o string) bool {
			return slices.Contains(asymmetricGrantOperations, o)
		}) {
		return nil, badRequest("ValidationException", "Unsupported operation in grant for a symmetric encryption key.")
	}
	if err := w.requireKeyState(c, k, kmstypes.KeyStateEnabled); err != nil {
		return nil, err
	}
	if w.violates(c, "3.2.7", len(k.grants.keys) >= grantLimit && k.KeyManager == kmstypes.KeyManagerTypeCustomer) {
		return nil, badRequest(
			"LimitExceededException", "You have reached the limit of %d grants on %s.", grantLimit, *k.Arn,
		)
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	for _, other := range k.grants.all {
		if w.violates(c, "3.2.6", created.name != "" && created.equals(other)) {
			return &kms.CreateGrantOutput{GrantId: &other.ID, GrantToken: w.newGrantToken(k, other)}, nil
		}
	}

	created.ID = hex.EncodeToString(w.randomBytes(32, "grant", *k.Arn, c.caller.principal.ARN))
	k.grants.put(created.ID, created)
	c.recordChange(created.ID)
	w.startPropagation(c, created.ID)
	return &kms.CreateGrantOutput{GrantId: &created.ID, GrantToken: w.newGrantToken(k, created)}, nil
}

// equals reports whether a request repeats a grant with the same name and parameters (rule 3.2.6).
func (g *grant) equals(other *grant) bool {
	sorted := func(operations []string) []string { return slices.Sorted(slices.Values(operations)) }
	return g.name == other.name && g.Grantee == other.Grantee && g.Retiring == other.Retiring &&
		g.IssuingAccount == other.IssuingAccount &&
		slices.Equal(sorted(g.Operations), sorted(other.Operations)) &&
		g.Constraints.SourceARN == other.Constraints.SourceARN &&
		maps.Equal(g.Constraints.EncryptionContextEquals, other.Constraints.EncryptionContextEquals) &&
		maps.Equal(g.Constraints.EncryptionContextSubset, other.Constraints.EncryptionContextSubset)
}

// newGrantToken returns a new token for a grant. Every response has its own token, and all are valid.
func (w *World) newGrantToken(k *key, g *grant) *string {
	token := base64.StdEncoding.EncodeToString(append(w.randomBytes(96, "grant token", g.ID), g.ID...))
	w.grantTokens[token] = k
	return &token
}

func (w *World) findGrantByToken(token string) (*key, *grant, bool) {
	k, known := w.grantTokens[token]
	if !known {
		return nil, nil, false
	}
	raw, _ := base64.StdEncoding.DecodeString(token)
	found, ok := k.grants.get(string(raw[96:]))
	return k, found, ok
}

// validateGrantTokens refuses invalid grant tokens. The grants of valid tokens take effect immediately in this call.
func (w *World) validateGrantTokens(c *Call, tokens []string) error {
	if len(tokens) > 10 {
		return validationError(c, "GrantTokens", len(tokens), "Member must have length less than or equal to 10")
	}

	for _, token := range tokens {
		if w.violates(c, "3.7", w.grantTokens[token] == nil) {
			return badRequest("InvalidGrantTokenException", "Invalid grant token.")
		}
		if _, found, ok := w.findGrantByToken(token); ok {
			c.grantIDs = append(c.grantIDs, found.ID)
		}
	}

	return nil
}

func showGrant(k *key, g *grant) kmstypes.GrantListEntry {
	view := kmstypes.GrantListEntry{
		KeyId:            k.Arn,
		GrantId:          &g.ID,
		GranteePrincipal: &g.Grantee,
		CreationDate:     aws.Time(g.created),
		IssuingAccount:   aws.String(fmt.Sprintf("arn:%s:iam::%s:root", partitionOf(k.location.region), g.IssuingAccount)),
	}

	if g.name != "" {
		view.Name = &g.name
	}
	if g.Retiring != "" {
		view.RetiringPrincipal = &g.Retiring
	}

	for _, operation := range g.Operations {
		view.Operations = append(view.Operations, kmstypes.GrantOperation(operation))
	}

	limits := g.Constraints
	if limits.EncryptionContextEquals != nil || limits.EncryptionContextSubset != nil || limits.SourceARN != "" {
		view.Constraints = &kmstypes.GrantConstraints{
			EncryptionContextEquals: limits.EncryptionContextEquals, EncryptionContextSubset: limits.EncryptionContextSubset,
		}
		if limits.SourceARN != "" {
			view.Constraints.SourceArn = &limits.SourceARN
		}
	}

	return view
}

func (w *World) listGrants(c *Call, in *kms.ListGrantsInput) (*kms.ListGrantsOutput, error) {
	if err := refuseUnmodeled(in, "KeyId", "GrantId", "GranteePrincipal", "Limit", "Marker"); err != nil {
		return nil, err
	}

	k, err := w.authorizeKey(c, in.KeyId, keyUse{
		action: "kms:ListGrants", context: iampolicy.Context{"kms:GrantIsForAWSResource": {"false"}},
	})
	if err != nil {
		return nil, err
	}
	if in.GrantId != nil && !grantIDPattern.MatchString(*in.GrantId) {
		return nil, badRequest("InvalidGrantIdException", "Invalid grant id %s", *in.GrantId)
	}

	all := []kmstypes.GrantListEntry{}
	for _, g := range k.grants.all {
		if (in.GrantId == nil || *in.GrantId == g.ID) && (in.GranteePrincipal == nil || *in.GranteePrincipal == g.Grantee) {
			all = append(all, showGrant(k, g))
		}
	}

	grants, next, err := paginateKMS(c, all, in.Limit, 50, 100, in.Marker)
	if err != nil {
		return nil, err
	}

	return &kms.ListGrantsOutput{Grants: grants, NextMarker: next, Truncated: next != nil}, nil
}

func (w *World) listRetirableGrants(c *Call, in *kms.ListRetirableGrantsInput) (*kms.ListRetirableGrantsOutput, error) {
	if err := refuseUnmodeled(in, "RetiringPrincipal", "Limit", "Marker"); err != nil {
		return nil, err
	}
	if err := w.authorize(c, AuthorizationRequest{Action: "kms:ListRetirableGrants", Resource: "*"}); err != nil {
		return nil, err
	}

	retiring, err := w.resolveGrantPrincipal(in.RetiringPrincipal)
	if err != nil {
		return nil, err
	}

	all := []kmstypes.GrantListEntry{}
	for _, k := range w.keys.all {
		for _, g := range k.grants.all {
			if k.location.region == c.Region && !k.isDeleted(c.At) && retiring != "" && g.Retiring == retiring {
				all = append(all, showGrant(k, g))
			}
		}
	}

	grants, next, err := paginateKMS(c, all, in.Limit, 50, 100, in.Marker)
	if err != nil {
		return nil, err
	}

	return &kms.ListRetirableGrantsOutput{Grants: grants, NextMarker: next, Truncated: next != nil}, nil
}

// retireGrant deletes a grant. The retiring principal, a grantee with RetireGrant and the issuing account may do so.
func (w *World) retireGrant(c *Call, in *kms.RetireGrantInput) (*kms.RetireGrantOutput, error) {
	k, found, err := w.findGrantToRetire(c, in)
	if err != nil {
		return nil, err
	}
	if err := w.authorize(c, k.newAuthorization(keyUse{action: "kms:RetireGrant", grant: &found.Grant})); err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	k.grants.remove(found.ID)
	c.recordChange(found.ID)
	return &kms.RetireGrantOutput{}, nil
}

// findGrantToRetire returns the grant in a RetireGrant request, which names a token, or a key ARN and a grant ID.
func (w *World) findGrantToRetire(c *Call, in *kms.RetireGrantInput) (*key, *grant, error) {
	if in.GrantToken != nil {
		k, found, ok := w.findGrantByToken(*in.GrantToken)
		if !ok {
			return nil, nil, badRequest("InvalidGrantTokenException", "Invalid grant token.")
		}
		return k, found, nil
	}

	if in.KeyId == nil || in.GrantId == nil {
		return nil, nil, badRequest(
			"ValidationException", "Either a grant token, or a key ARN and a grant ID must be given.",
		)
	}
	if !keyARNPattern.MatchString(*in.KeyId) {
		return nil, nil, badRequest("InvalidArnException", "Invalid arn %s", *in.KeyId)
	}

	use := keyUse{action: "kms:RetireGrant"}
	k, err := w.resolveKey(c, in.KeyId, &use)
	if err != nil {
		return nil, nil, err
	}

	found, err := findGrant(k, in.GrantId)
	return k, found, err
}

func findGrant(k *key, id *string) (*grant, error) {
	if !matchesPattern(id, grantIDPattern) {
		return nil, badRequest("InvalidGrantIdException", "Invalid grant id %s", aws.ToString(id))
	}
	found, ok := k.grants.get(*id)
	if !ok {
		return nil, kmsNotFound("Grant ID %s not found", *id)
	}
	return found, nil
}

func (w *World) revokeGrant(c *Call, in *kms.RevokeGrantInput) (*kms.RevokeGrantOutput, error) {
	k, err := w.authorizeKey(c, in.KeyId, keyUse{
		action: "kms:RevokeGrant", context: iampolicy.Context{"kms:GrantIsForAWSResource": {"false"}},
	})
	if err != nil {
		return nil, err
	}

	found, err := findGrant(k, in.GrantId)
	if err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	k.grants.remove(found.ID)
	c.recordChange(found.ID)
	return &kms.RevokeGrantOutput{}, nil
}
