// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"hash"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var importOperations = []namedOperation{
	newOperation((*World).getParametersForImport),
	newOperation((*World).importKeyMaterial),
	newOperation((*World).deleteImportedKeyMaterial),
	newOperation((*World).listKeyRotations),
}

// keyMaterial is a 256-bit key material.
type keyMaterial struct {
	id              string
	secret          []byte
	description     *string
	expires         *time.Time // expiration of imported material; nil for never
	deleted         bool
	pendingRotation bool // imported, but not yet current
}

// isAvailable reports whether the material can be used. Imported material can be deleted and can expire (rule 3.5.1).
func (m *keyMaterial) isAvailable(now time.Time) bool {
	return !m.deleted && (m.expires == nil || now.Before(*m.expires))
}

// materialID derives an ID from the key and the material, so that a repeated import is recognized.
func materialID(k *key, secret []byte) string {
	sum := sha256.Sum256(append([]byte(*k.KeyId), secret...))
	return hex.EncodeToString(sum[:])
}

func (r *keyMaterialSet) add(k *key, secret []byte) *keyMaterial {
	created := &keyMaterial{id: materialID(k, secret), secret: secret}
	r.materials = append(r.materials, created)
	return created
}

// current returns the material that encrypts. Nil before the first import.
func (r *keyMaterialSet) current() *keyMaterial {
	for _, m := range slices.Backward(r.materials) {
		if !m.pendingRotation {
			return m
		}
	}
	return nil
}

// isIncomplete reports whether the key is pending import. Either it has no material, or one of its materials is deleted
// or expired (rules 3.5.1 and 3.5.2).
func (r *keyMaterialSet) isIncomplete(now time.Time) bool {
	return r.current() == nil ||
		slices.ContainsFunc(r.materials, func(m *keyMaterial) bool { return !m.pendingRotation && !m.isAvailable(now) })
}

// expiration returns the earliest expiration of all materials (rule 3.5.2).
func (r *keyMaterialSet) expiration() (kmstypes.ExpirationModelType, *time.Time) {
	var first *time.Time
	for _, m := range r.materials {
		if m.expires != nil && !m.pendingRotation && (first == nil || m.expires.Before(*first)) {
			first = m.expires
		}
	}
	if first == nil {
		return kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire, nil
	}
	return kmstypes.ExpirationModelTypeKeyMaterialExpires, first
}

// pending returns the material that waits for a rotation. Nil if there is none.
func (r *keyMaterialSet) pending() *keyMaterial {
	for _, m := range r.materials {
		if m.pendingRotation {
			return m
		}
	}
	return nil
}

// rotate makes the pending material current. It reports false if there is none.
func (r *keyMaterialSet) rotate() bool {
	waiting := r.pending()
	if waiting == nil {
		return false
	}
	waiting.pendingRotation = false
	return true
}

// importParameters are the parameters that GetParametersForImport returned.
type importParameters struct {
	key       *key
	algorithm kmstypes.AlgorithmSpec
	spec      kmstypes.WrappingKeySpec
	expires   time.Time
}

// importTokenLifetime is the lifetime of an import token and its public key.
const importTokenLifetime = 24 * time.Hour

// wrappingKeys are the RSA keys that wrap imported material. All keys of a world share one per size, because generating
// them is slow.
type wrappingKeys map[kmstypes.WrappingKeySpec]*rsa.PrivateKey

func (keys wrappingKeys) get(spec kmstypes.WrappingKeySpec) (*rsa.PrivateKey, error) {
	bits, known := map[kmstypes.WrappingKeySpec]int{
		kmstypes.WrappingKeySpecRsa2048: 2048, kmstypes.WrappingKeySpecRsa3072: 3072, kmstypes.WrappingKeySpecRsa4096: 4096,
	}[spec]
	if !known {
		return nil, badRequest("UnsupportedOperationException", "The simulated AWS does not wrap under %s.", spec)
	}

	if keys[spec] == nil {
		created, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		keys[spec] = created
	}

	return keys[spec], nil
}

// wrappingHashes maps the algorithms that can wrap symmetric material to their hash (rule 3.5.5).
var wrappingHashes = map[kmstypes.AlgorithmSpec]func() hash.Hash{
	kmstypes.AlgorithmSpecRsaesOaepSha1:   sha1.New,
	kmstypes.AlgorithmSpecRsaesOaepSha256: sha256.New,
}

// authorizeImport authorizes an operation on a key with imported material and returns the key.
func (w *World) authorizeImport(c *Call, id *string, context iampolicy.Context) (*key, error) {
	found, err := w.authorizeKey(c, id, keyUse{action: "kms:" + c.Operation, context: context})
	if err != nil {
		return nil, err
	}
	if w.violates(c, "3.5.1", found.Origin != kmstypes.OriginTypeExternal) {
		return nil, badRequest(
			"UnsupportedOperationException", "%s origin is %s which is not valid for this operation.", *found.Arn, found.Origin,
		)
	}
	return found, nil
}

func (w *World) getParametersForImport(
	c *Call, in *kms.GetParametersForImportInput,
) (*kms.GetParametersForImportOutput, error) {
	if w.violates(c, "3.5.5", wrappingHashes[in.WrappingAlgorithm] == nil) {
		return nil, badRequest(
			"UnsupportedOperationException", "The wrapping algorithm %s is not supported.", in.WrappingAlgorithm,
		)
	}

	wrapping, err := w.wrappingKeys.get(in.WrappingKeySpec)
	if err != nil {
		return nil, err
	}

	found, err := w.authorizeImport(c, in.KeyId, iampolicy.Context{
		"kms:WrappingAlgorithm": {string(in.WrappingAlgorithm)}, "kms:WrappingKeySpec": {string(in.WrappingKeySpec)},
	})
	if err != nil {
		return nil, err
	}

	err = w.requireKeyState(c, found, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport)
	if err != nil {
		return nil, err
	}

	public, err := x509.MarshalPKIXPublicKey(&wrapping.PublicKey)
	if err != nil {
		return nil, err
	}

	token := w.randomBytes(256, "import token", *found.Arn)
	w.importTokens[string(token)] = &importParameters{
		found, in.WrappingAlgorithm, in.WrappingKeySpec, c.At.Add(importTokenLifetime),
	}

	return &kms.GetParametersForImportOutput{
		KeyId:             found.Arn,
		ImportToken:       token,
		PublicKey:         public,
		ParametersValidTo: aws.Time(c.At.Add(importTokenLifetime)),
	}, nil
}

// maxMaterialLifetime is the maximum lifetime of imported material (rule 3.5.2).
const maxMaterialLifetime = 365 * 24 * time.Hour

// validateExpiration checks the expiration in an import request.
func (w *World) validateExpiration(c *Call, in *kms.ImportKeyMaterialInput) error {
	never := in.ExpirationModel == kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire
	switch {
	case w.violates(c, "3.5.2", never && in.ValidTo != nil):
		return badRequest(
			"ValidationException", "A validTo date cannot be specified if the expiration model is KEY_MATERIAL_DOES_NOT_EXPIRE.",
		)
	case w.violates(c, "3.5.2", !never && in.ValidTo == nil):
		return badRequest("ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	case w.violates(
		c, "3.5.2", in.ValidTo != nil && (!in.ValidTo.After(c.At) || in.ValidTo.After(c.At.Add(maxMaterialLifetime))),
	):
		return badRequest("ValidationException", "The validTo date must be in the future, and within 365 days.")
	}

	return nil
}

func (w *World) importKeyMaterial(c *Call, in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	if err := w.validateExpiration(c, in); err != nil {
		return nil, err
	}

	context := iampolicy.Context{"kms:ExpirationModel": {string(in.ExpirationModel)}}
	if in.ValidTo != nil {
		context["kms:ValidTo"] = []string{in.ValidTo.UTC().Format(time.RFC3339)}
	}

	k, err := w.authorizeImport(c, in.KeyId, context)
	if err != nil {
		return nil, err
	}

	err = w.requireKeyState(c, k, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport)
	if err != nil {
		return nil, err
	}

	secret, err := w.unwrap(c, k, in)
	if err != nil {
		return nil, err
	}

	created, err := w.addImportedMaterial(c, k, secret, in)
	if err != nil {
		return nil, err
	}

	created.deleted, created.expires = false, in.ValidTo
	if in.KeyMaterialDescription != nil {
		created.description = in.KeyMaterialDescription
	}

	c.recordChange(*k.Arn)
	return &kms.ImportKeyMaterialOutput{KeyId: k.Arn, KeyMaterialId: &created.id}, nil
}

// unwrap decrypts the material with the private key of the import token.
func (w *World) unwrap(c *Call, k *key, in *kms.ImportKeyMaterialInput) ([]byte, error) {
	given, known := w.importTokens[string(in.ImportToken)]
	switch {
	case !known:
		return nil, badRequest("InvalidImportTokenException", "The import token is not valid.")
	case w.violates(c, "3.5.1", given.key != k):
		return nil, badRequest("InvalidImportTokenException", "The import token is not of this key.")
	case w.violates(c, "3.5.1", !c.At.Before(given.expires)):
		return nil, badRequest("ExpiredImportTokenException", "The import token has expired.")
	}

	wrapping, err := w.wrappingKeys.get(given.spec)
	if err != nil {
		return nil, err
	}

	hashing, known := wrappingHashes[given.algorithm]
	if !known {
		return nil, badRequest("UnsupportedOperationException", "The simulated AWS does not unwrap %s.", given.algorithm)
	}

	secret, err := rsa.DecryptOAEP(hashing(), nil, wrapping, in.EncryptedKeyMaterial, nil)
	if err != nil || len(secret) != 32 {
		return nil, badRequest("InvalidCiphertextException", "")
	}

	return secret, nil
}

// addImportedMaterial returns the imported material, which may be known already. The first material of a key is current
// at once, a further one after a rotation.
func (w *World) addImportedMaterial(
	c *Call, k *key, secret []byte, in *kms.ImportKeyMaterialInput,
) (*keyMaterial, error) {
	const other = "The key material in the request is not identical to a key material that was previously imported " +
		"into this KMS key."

	id, kind := materialID(k, secret), in.ImportType
	if kind == "" && k.material.current() == nil && k.isPrimary() {
		kind = kmstypes.ImportTypeNewKeyMaterial
	} else if kind == "" {
		kind = kmstypes.ImportTypeExistingKeyMaterial
	}

	at := func(r *keyMaterialSet) int {
		return slices.IndexFunc(r.materials, func(m *keyMaterial) bool { return m.id == id })
	}

	if kind == kmstypes.ImportTypeNewKeyMaterial {
		if at(k.material) >= 0 || !k.isPrimary() {
			return nil, badRequest("IncorrectKeyMaterialException", "The key material was imported into this KMS key before.")
		}
		if waiting := k.material.pending(); w.violates(c, "B.5.6", waiting != nil) {
			return nil, badRequest(
				"KMSInvalidStateException",
				"New key material (id: %s) cannot be imported into KMS key %s, because another key material (id: %s) is pending "+
					"rotation.", id, *k.KeyId, waiting.id,
			)
		}
		first := k.material.current() == nil
		created := k.material.add(k, secret)
		created.pendingRotation = !first
		return created, nil
	}

	known := at(k.material)
	if !k.isPrimary() && known < 0 && at(k.keySet.primary.material) >= 0 {
		return k.material.add(k, secret), nil // a replica accepts the material of its primary key (rule 3.6.3)
	}
	if known < 0 || w.violates(c, "3.5.2", in.KeyMaterialId != nil && *in.KeyMaterialId != id) {
		return nil, badRequest("IncorrectKeyMaterialException", other)
	}

	return k.material.materials[known], nil
}

func (w *World) deleteImportedKeyMaterial(
	c *Call, in *kms.DeleteImportedKeyMaterialInput,
) (*kms.DeleteImportedKeyMaterialOutput, error) {
	k, err := w.authorizeImport(c, in.KeyId, nil)
	if err != nil {
		return nil, err
	}

	deleted := k.material.current()
	if in.KeyMaterialId != nil {
		deleted = nil
		for _, m := range k.material.materials {
			if m.id == *in.KeyMaterialId {
				deleted = m
			}
		}
		if deleted == nil {
			return nil, kmsNotFound("The key material %s is not of %s", *in.KeyMaterialId, *k.Arn)
		}
	}

	out := &kms.DeleteImportedKeyMaterialOutput{KeyId: k.Arn}
	if deleted != nil {
		deleted.deleted, out.KeyMaterialId = true, &deleted.id
		c.recordChange(*k.Arn)
	}

	return out, nil
}

// listKeyRotations returns a key's materials, oldest first.
func (w *World) listKeyRotations(c *Call, in *kms.ListKeyRotationsInput) (*kms.ListKeyRotationsOutput, error) {
	k, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:ListKeyRotations"})
	if err != nil {
		return nil, err
	}

	all := []kmstypes.RotationsListEntry{}
	for _, m := range k.material.materials {
		view := kmstypes.RotationsListEntry{
			KeyId:                  k.Arn,
			KeyMaterialId:          &m.id,
			KeyMaterialDescription: m.description,
			KeyMaterialState:       kmstypes.KeyMaterialStateNonCurrent,
		}

		switch {
		case m == k.material.current():
			view.KeyMaterialState = kmstypes.KeyMaterialStateCurrent
		case m.pendingRotation:
			view.KeyMaterialState = kmstypes.KeyMaterialStatePendingRotation
		}

		if k.Origin == kmstypes.OriginTypeExternal {
			view.ImportState = kmstypes.ImportStateImported
			view.ExpirationModel = kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire
			if m.expires != nil {
				view.ExpirationModel, view.ValidTo = kmstypes.ExpirationModelTypeKeyMaterialExpires, m.expires
			}
			if !m.isAvailable(c.At) {
				view.ImportState = kmstypes.ImportStatePendingImport
			}
		}

		if in.IncludeKeyMaterial == kmstypes.IncludeKeyMaterialAllKeyMaterial ||
			view.KeyMaterialState != kmstypes.KeyMaterialStatePendingRotation && m != k.material.materials[0] {
			all = append(all, view)
		}
	}

	rotations, next, err := paginateKMS(c, all, in.Limit, 100, 1000, in.Marker)
	if err != nil {
		return nil, err
	}

	return &kms.ListKeyRotationsOutput{Rotations: rotations, NextMarker: next, Truncated: next != nil}, nil
}
