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

var importOperations = []named{
	op((*World).getParametersForImport),
	op((*World).importKeyMaterial),
	op((*World).deleteImportedKeyMaterial),
	op((*World).listKeyRotations),
}

// material is what a key encrypts with: 32 bytes.
type material struct {
	id          string
	secret      []byte
	description *string
	expires     *time.Time // of imported material; nil: never
	deleted     bool
	waiting     bool // imported, and not taken by a rotation yet
}

// there reports whether the material can be used at a moment: imported material can be deleted, and expires (3.5.1).
func (m *material) there(now time.Time) bool {
	return !m.deleted && (m.expires == nil || now.Before(*m.expires))
}

// materialID is derived from key and material, so that the same material is known again.
func materialID(k *key, secret []byte) string {
	sum := sha256.Sum256(append([]byte(*k.KeyId), secret...))
	return hex.EncodeToString(sum[:])
}

func (r *ring) add(k *key, secret []byte) *material {
	made := &material{id: materialID(k, secret), secret: secret}
	r.materials = append(r.materials, made)
	return made
}

// current is the material that encrypts; nil before the first import.
func (r *ring) current() *material {
	for _, m := range slices.Backward(r.materials) {
		if !m.waiting {
			return m
		}
	}
	return nil
}

// incomplete reports whether a key waits for material: it has none, or one of those it has used is not there (3.5.1, 3.5.2).
func (r *ring) incomplete(now time.Time) bool {
	return r.current() == nil || slices.ContainsFunc(r.materials, func(m *material) bool { return !m.waiting && !m.there(now) })
}

// expiration is the earliest of all materials' (3.5.2).
func (r *ring) expiration() (kmstypes.ExpirationModelType, *time.Time) {
	var first *time.Time
	for _, m := range r.materials {
		if m.expires != nil && !m.waiting && (first == nil || m.expires.Before(*first)) {
			first = m.expires
		}
	}
	if first == nil {
		return kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire, nil
	}
	return kmstypes.ExpirationModelTypeKeyMaterialExpires, first
}

// takeNext lets the material that waits encrypt from now on.
func (r *ring) takeNext() bool {
	for _, m := range r.materials {
		if m.waiting {
			m.waiting = false
			return true
		}
	}
	return false
}

// importParameters are what one GetParametersForImport gave out.
type importParameters struct {
	key       *key
	algorithm kmstypes.AlgorithmSpec
	spec      kmstypes.WrappingKeySpec
	expires   time.Time
}

// importTime is how long an import token and its public key can be used.
const importTime = 24 * time.Hour

// wrappingKeys are the RSA keys under which materials come. One of a size serves the whole world, since making them is slow.
type wrappingKeys map[kmstypes.WrappingKeySpec]*rsa.PrivateKey

func (keys wrappingKeys) of(spec kmstypes.WrappingKeySpec) (*rsa.PrivateKey, error) {
	bits, known := map[kmstypes.WrappingKeySpec]int{
		kmstypes.WrappingKeySpecRsa2048: 2048, kmstypes.WrappingKeySpecRsa3072: 3072, kmstypes.WrappingKeySpecRsa4096: 4096,
	}[spec]
	if !known {
		return nil, invalid("UnsupportedOperationException", "The simulated AWS does not wrap under %s.", spec)
	}
	if keys[spec] == nil {
		made, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		keys[spec] = made
	}
	return keys[spec], nil
}

// wrappingHashes are the algorithms that wrap symmetric material (3.5.5).
var wrappingHashes = map[kmstypes.AlgorithmSpec]func() hash.Hash{
	kmstypes.AlgorithmSpecRsaesOaepSha1:   sha1.New,
	kmstypes.AlgorithmSpecRsaesOaepSha256: sha256.New,
}

// importable finds a key of the caller's into which material can come.
func (w *World) importable(c *Call, id *string, context iampolicy.Context) (*key, error) {
	found, err := w.keyFor(c, id, keyUse{action: "kms:" + c.Operation, context: context})
	if err != nil {
		return nil, err
	}
	if w.breaks(c, "3.5.1", found.Origin != kmstypes.OriginTypeExternal) {
		return nil, invalid("UnsupportedOperationException", "%s origin is %s which is not valid for this operation.", *found.Arn, found.Origin)
	}
	return found, nil
}

func (w *World) getParametersForImport(c *Call, in *kms.GetParametersForImportInput) (*kms.GetParametersForImportOutput, error) {
	if w.breaks(c, "3.5.5", wrappingHashes[in.WrappingAlgorithm] == nil) {
		return nil, invalid("UnsupportedOperationException", "The wrapping algorithm %s is not supported.", in.WrappingAlgorithm)
	}
	wrapping, err := w.wrapping.of(in.WrappingKeySpec)
	if err != nil {
		return nil, err
	}
	found, err := w.importable(c, in.KeyId, iampolicy.Context{
		"kms:WrappingAlgorithm": {string(in.WrappingAlgorithm)}, "kms:WrappingKeySpec": {string(in.WrappingKeySpec)},
	})
	if err != nil {
		return nil, err
	}
	if err := w.mustBe(c, found, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport); err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&wrapping.PublicKey)
	if err != nil {
		return nil, err
	}
	token := w.drawBytes(256, "import token", *found.Arn)
	w.imports[string(token)] = &importParameters{found, in.WrappingAlgorithm, in.WrappingKeySpec, c.At.Add(importTime)}
	return &kms.GetParametersForImportOutput{KeyId: found.Arn, ImportToken: token, PublicKey: public, ParametersValidTo: aws.Time(c.At.Add(importTime))}, nil
}

// validFor is the longest time for which imported material can be used (3.5.2).
const validFor = 365 * 24 * time.Hour

// checkExpiration is the syntax of how long material is to be valid.
func (w *World) checkExpiration(c *Call, in *kms.ImportKeyMaterialInput) error {
	never := in.ExpirationModel == kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire
	switch {
	case w.breaks(c, "3.5.2", never && in.ValidTo != nil):
		return invalid("ValidationException", "A validTo date cannot be specified if the expiration model is KEY_MATERIAL_DOES_NOT_EXPIRE.")
	case w.breaks(c, "3.5.2", !never && in.ValidTo == nil):
		return invalid("ValidationException", "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES.")
	case w.breaks(c, "3.5.2", in.ValidTo != nil && (!in.ValidTo.After(c.At) || in.ValidTo.After(c.At.Add(validFor)))):
		return invalid("ValidationException", "The validTo date must be in the future, and within 365 days.")
	}
	return nil
}

func (w *World) importKeyMaterial(c *Call, in *kms.ImportKeyMaterialInput) (*kms.ImportKeyMaterialOutput, error) {
	if err := w.checkExpiration(c, in); err != nil {
		return nil, err
	}
	context := iampolicy.Context{"kms:ExpirationModel": {string(in.ExpirationModel)}}
	if in.ValidTo != nil {
		context["kms:ValidTo"] = []string{in.ValidTo.UTC().Format(time.RFC3339)}
	}
	into, err := w.importable(c, in.KeyId, context)
	if err != nil {
		return nil, err
	}
	if err := w.mustBe(c, into, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled, kmstypes.KeyStatePendingImport); err != nil {
		return nil, err
	}
	secret, err := w.unwrap(c, into, in)
	if err != nil {
		return nil, err
	}
	made, err := w.putOnRing(c, into, secret, in)
	if err != nil {
		return nil, err
	}
	made.deleted, made.expires = false, in.ValidTo
	if in.KeyMaterialDescription != nil {
		made.description = in.KeyMaterialDescription
	}
	c.changed(*into.Arn)
	return &kms.ImportKeyMaterialOutput{KeyId: into.Arn, KeyMaterialId: &made.id}, nil
}

// unwrap reads the material with the private key whose public key the token came with.
func (w *World) unwrap(c *Call, into *key, in *kms.ImportKeyMaterialInput) ([]byte, error) {
	given, known := w.imports[string(in.ImportToken)]
	switch {
	case !known:
		return nil, invalid("InvalidImportTokenException", "The import token is not valid.")
	case w.breaks(c, "3.5.1", given.key != into):
		return nil, invalid("InvalidImportTokenException", "The import token is not of this key.")
	case w.breaks(c, "3.5.1", !c.At.Before(given.expires)):
		return nil, invalid("ExpiredImportTokenException", "The import token has expired.")
	}
	wrapping, err := w.wrapping.of(given.spec)
	if err != nil {
		return nil, err
	}
	hashing, known := wrappingHashes[given.algorithm]
	if !known {
		return nil, invalid("UnsupportedOperationException", "The simulated AWS does not unwrap %s.", given.algorithm)
	}
	secret, err := rsa.DecryptOAEP(hashing(), nil, wrapping, in.EncryptedKeyMaterial, nil)
	if err != nil || len(secret) != 32 {
		return nil, invalid("InvalidCiphertextException", "")
	}
	return secret, nil
}

// putOnRing finds the material on the key's ring, or puts new material there: the first one is used at once, a further one after a rotation.
func (w *World) putOnRing(c *Call, into *key, secret []byte, in *kms.ImportKeyMaterialInput) (*material, error) {
	const other = "The key material in the request is not identical to a key material that was previously imported into this KMS key."
	id, kind := materialID(into, secret), in.ImportType
	if kind == "" && into.ring.current() == nil && into.primary() {
		kind = kmstypes.ImportTypeNewKeyMaterial
	} else if kind == "" {
		kind = kmstypes.ImportTypeExistingKeyMaterial
	}
	at := func(r *ring) int { return slices.IndexFunc(r.materials, func(m *material) bool { return m.id == id }) }
	if kind == kmstypes.ImportTypeNewKeyMaterial {
		if at(into.ring) >= 0 || !into.primary() {
			return nil, invalid("IncorrectKeyMaterialException", "The key material was imported into this KMS key before.")
		}
		first := into.ring.current() == nil
		made := into.ring.add(into, secret)
		made.waiting = !first
		return made, nil
	}
	known := at(into.ring)
	if !into.primary() && known < 0 && at(into.family.primary.ring) >= 0 {
		return into.ring.add(into, secret), nil // a replica takes what its primary has (3.6.3)
	}
	if known < 0 || w.breaks(c, "3.5.2", in.KeyMaterialId != nil && *in.KeyMaterialId != id) {
		return nil, invalid("IncorrectKeyMaterialException", other)
	}
	return into.ring.materials[known], nil
}

func (w *World) deleteImportedKeyMaterial(c *Call, in *kms.DeleteImportedKeyMaterialInput) (*kms.DeleteImportedKeyMaterialOutput, error) {
	from, err := w.importable(c, in.KeyId, nil)
	if err != nil {
		return nil, err
	}
	deleted := from.ring.current()
	if in.KeyMaterialId != nil {
		deleted = nil
		for _, m := range from.ring.materials {
			if m.id == *in.KeyMaterialId {
				deleted = m
			}
		}
		if deleted == nil {
			return nil, notFound("The key material %s is not of %s", *in.KeyMaterialId, *from.Arn)
		}
	}
	out := &kms.DeleteImportedKeyMaterialOutput{KeyId: from.Arn}
	if deleted != nil {
		deleted.deleted, out.KeyMaterialId = true, &deleted.id
		c.changed(*from.Arn)
	}
	return out, nil
}

// listKeyRotations tells of a key's materials, the oldest first.
func (w *World) listKeyRotations(c *Call, in *kms.ListKeyRotationsInput) (*kms.ListKeyRotationsOutput, error) {
	of, err := w.keyFor(c, in.KeyId, keyUse{action: "kms:ListKeyRotations"})
	if err != nil {
		return nil, err
	}
	all := []kmstypes.RotationsListEntry{}
	for _, m := range of.ring.materials {
		shown := kmstypes.RotationsListEntry{KeyId: of.Arn, KeyMaterialId: &m.id, KeyMaterialDescription: m.description, KeyMaterialState: kmstypes.KeyMaterialStateNonCurrent}
		switch {
		case m == of.ring.current():
			shown.KeyMaterialState = kmstypes.KeyMaterialStateCurrent
		case m.waiting:
			shown.KeyMaterialState = kmstypes.KeyMaterialStatePendingRotation
		}
		if of.Origin == kmstypes.OriginTypeExternal {
			shown.ImportState, shown.ExpirationModel = kmstypes.ImportStateImported, kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire
			if m.expires != nil {
				shown.ExpirationModel, shown.ValidTo = kmstypes.ExpirationModelTypeKeyMaterialExpires, m.expires
			}
			if !m.there(c.At) {
				shown.ImportState = kmstypes.ImportStatePendingImport
			}
		}
		if in.IncludeKeyMaterial == kmstypes.IncludeKeyMaterialAllKeyMaterial || shown.KeyMaterialState != kmstypes.KeyMaterialStatePendingRotation && m != of.ring.materials[0] {
			all = append(all, shown)
		}
	}
	rotations, next, err := kmsPage(c, all, in.Limit, 100, 1000, in.Marker)
	if err != nil {
		return nil, err
	}
	return &kms.ListKeyRotationsOutput{Rotations: rotations, NextMarker: next, Truncated: next != nil}, nil
}
