// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"hash"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const year = 365 * 24 * time.Hour

// wrapped gets import parameters for a key and wraps material under them, as somebody who imports does.
func (b fixture) wrapped(client *kms.Client, key string, material []byte, changes ...func(*kms.ImportKeyMaterialInput)) *kms.ImportKeyMaterialInput {
	b.Helper()
	given := ok(client.GetParametersForImport(b.Context(), &kms.GetParametersForImportInput{
		KeyId: &key, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesOaepSha256, WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048,
	}))(b)
	in := &kms.ImportKeyMaterialInput{KeyId: &key, ImportToken: given.ImportToken, EncryptedKeyMaterial: b.wrap(given.PublicKey, sha256.New(), material),
		ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire}
	for _, change := range changes {
		change(in)
	}
	return in
}

func (b fixture) wrap(public []byte, with hash.Hash, material []byte) []byte {
	b.Helper()
	parsed := ok(x509.ParsePKIXPublicKey(public))(b)
	return ok(rsa.EncryptOAEP(with, rand.Reader, parsed.(*rsa.PublicKey), material, nil))(b)
}

// until lets material expire.
func until(moment time.Time) func(*kms.ImportKeyMaterialInput) {
	return func(in *kms.ImportKeyMaterialInput) {
		in.ExpirationModel, in.ValidTo = kmstypes.ExpirationModelTypeKeyMaterialExpires, &moment
	}
}

func fresh(in *kms.ImportKeyMaterialInput) { in.ImportType = kmstypes.ImportTypeNewKeyMaterial }

// someMaterial is 32 bytes, other ones for another number.
func someMaterial(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// importedKey makes a key of the owner with imported material that does not expire.
func (b fixture) importedKey() string {
	b.Helper()
	key := b.keyIn(kmstypes.KeyStatePendingImport)
	must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(1))))(b)
	return key
}

func TestImportKeyMaterial_usableUntilExpiredOrDeleted(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.keyIn(kmstypes.KeyStatePendingImport)
		expires := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(1), until(expires))))(b)
		if got := b.described(b.kms, key); got.KeyState != kmstypes.KeyStateEnabled || !got.ValidTo.Equal(expires) || got.ExpirationModel != kmstypes.ExpirationModelTypeKeyMaterialExpires {
			b.Errorf("3.5.1: %+v", got)
		}
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &key, Plaintext: []byte("text")}))(b).CiphertextBlob
		waits := func(after string) {
			b.Helper()
			if got := b.described(b.kms, key); got.KeyState != kmstypes.KeyStatePendingImport || got.ValidTo != nil {
				b.Errorf("3.5.1: after %s the key is %+v", after, got)
			}
			requireErrorCode(b, keyCalls["Encrypt"](b, key), "KMSInvalidStateException")
		}
		time.Sleep(24*time.Hour - time.Minute)
		if err := keyCalls["Encrypt"](b, key); err != nil {
			b.Errorf("3.5.1: a minute before: %v", err)
		}
		time.Sleep(time.Minute)
		waits("the expiry")
		_, err := b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(2)))
		requireErrorCode(b, err, "IncorrectKeyMaterialException")
		must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(1))))(b)
		if got := ok(b.kms.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b); string(got.Plaintext) != "text" {
			b.Errorf("3.5.1: decrypted %q", got.Plaintext)
		}
		must(b.kms.DeleteImportedKeyMaterial(b.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: &key}))(b)
		waits("the deletion")
	})
}

func TestImportKeyMaterial_invalid(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(b fixture, in *kms.ImportKeyMaterialInput)
		code  string
	}{
		"3.5.2 expiry without a date": {func(_ fixture, in *kms.ImportKeyMaterialInput) { in.ExpirationModel = "" }, "ValidationException"},
		"3.5.2 a date without expiry": {func(_ fixture, in *kms.ImportKeyMaterialInput) { in.ValidTo = aws.Time(time.Now().Add(time.Hour)) }, "ValidationException"},
		"3.5.2 a date in the past":    {func(_ fixture, in *kms.ImportKeyMaterialInput) { until(time.Now().Add(-time.Second))(in) }, "ValidationException"},
		"3.5.2 more than a year":      {func(_ fixture, in *kms.ImportKeyMaterialInput) { until(time.Now().Add(year + time.Minute))(in) }, "ValidationException"},
		"3.5.1 another key's token": {func(b fixture, in *kms.ImportKeyMaterialInput) {
			in.ImportToken = b.wrapped(b.kms, b.keyIn(kmstypes.KeyStatePendingImport), someMaterial(1)).ImportToken
		}, "InvalidImportTokenException"},
		"3.5.1 no token":         {func(_ fixture, in *kms.ImportKeyMaterialInput) { in.ImportToken = []byte("token") }, "InvalidImportTokenException"},
		"3.5.1 an expired token": {func(fixture, *kms.ImportKeyMaterialInput) { time.Sleep(25 * time.Hour) }, "ExpiredImportTokenException"},
		"3.5.1 a damaged wrapping": {func(_ fixture, in *kms.ImportKeyMaterialInput) {
			in.EncryptedKeyMaterial = bytes.Clone(in.EncryptedKeyMaterial)
			in.EncryptedKeyMaterial[7] ^= 1
		}, "InvalidCiphertextException"},
		"3.5.1 an origin of AWS": {func(b fixture, in *kms.ImportKeyMaterialInput) { in.KeyId = aws.String(b.key()) }, "UnsupportedOperationException"},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(b fixture) {
				in := b.wrapped(b.kms, b.keyIn(kmstypes.KeyStatePendingImport), someMaterial(1))
				row.spoil(b, in)
				_, err := b.kms.ImportKeyMaterial(b.Context(), in)
				requireErrorCode(b, err, row.code)
			})
		})
	}
}

func TestImportKeyMaterial_wrappingAlgorithms(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		for algorithm, hashing := range map[kmstypes.AlgorithmSpec]func() hash.Hash{ // 3.5.5
			kmstypes.AlgorithmSpecRsaesOaepSha1: sha1.New, kmstypes.AlgorithmSpecRsaesOaepSha256: sha256.New,
			kmstypes.AlgorithmSpecRsaesPkcs1V15: nil,
		} {
			key := b.keyIn(kmstypes.KeyStatePendingImport)
			given, err := b.kms.GetParametersForImport(b.Context(), &kms.GetParametersForImportInput{KeyId: &key, WrappingAlgorithm: algorithm, WrappingKeySpec: kmstypes.WrappingKeySpecRsa3072})
			if hashing == nil {
				requireErrorCode(b, err, "UnsupportedOperationException")
				continue
			}
			must(0, err)(b)
			_, err = b.kms.ImportKeyMaterial(b.Context(), &kms.ImportKeyMaterialInput{KeyId: &key, ImportToken: given.ImportToken,
				EncryptedKeyMaterial: b.wrap(given.PublicKey, hashing(), someMaterial(1)), ExpirationModel: kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire})
			if err != nil || b.described(b.kms, key).KeyState != kmstypes.KeyStateEnabled {
				b.Errorf("3.5.5: %s: %v", algorithm, err)
			}
		}
	})
}

func TestImportKeyMaterial_oneOfSeveralExpired(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.keyIn(kmstypes.KeyStatePendingImport)
		first := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(1), until(first))))(b)
		requireErrorCode(b, keyCalls["RotateKeyOnDemand"](b, key), "KMSInvalidStateException") // nothing waits for it
		must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(2), until(first.Add(year/2)), fresh)))(b)
		before := *b.described(b.kms, key).CurrentKeyMaterialId
		must(b.kms.RotateKeyOnDemand(b.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(b) // 3.5.3
		got := b.described(b.kms, key)
		if *got.CurrentKeyMaterialId == before || !got.ValidTo.Equal(first) { // 3.5.2: the earliest of all
			b.Errorf("3.5.2: %+v", got)
		}
		rotations := ok(b.kms.ListKeyRotations(b.Context(), &kms.ListKeyRotationsInput{KeyId: &key, IncludeKeyMaterial: kmstypes.IncludeKeyMaterialAllKeyMaterial}))(b).Rotations
		if len(rotations) != 2 || *rotations[0].KeyMaterialId != before || rotations[1].KeyMaterialState != kmstypes.KeyMaterialStateCurrent {
			b.Errorf("%+v", rotations)
		}
		time.Sleep(25 * time.Hour)
		if state := b.described(b.kms, key).KeyState; state != kmstypes.KeyStatePendingImport {
			b.Errorf("3.5.2: the key is %s", state)
		}
		in := b.wrapped(b.kms, key, someMaterial(1), func(in *kms.ImportKeyMaterialInput) { in.KeyMaterialId = got.CurrentKeyMaterialId })
		_, err := b.kms.ImportKeyMaterial(b.Context(), in)
		requireErrorCode(b, err, "IncorrectKeyMaterialException") // 3.5.2: it is the other one's id
		must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, key, someMaterial(1), func(in *kms.ImportKeyMaterialInput) { in.KeyMaterialId = &before })))(b)
		if err := keyCalls["Encrypt"](b, key); err != nil {
			b.Error(err)
		}
	})
}

func TestReplicateKey_importedMaterial(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		primary := *ok(b.kms.CreateKey(b.Context(), &kms.CreateKeyInput{Origin: kmstypes.OriginTypeExternal, MultiRegion: aws.Bool(true)}))(b).KeyMetadata.KeyId
		must(b.kms.ImportKeyMaterial(b.Context(), b.wrapped(b.kms, primary, someMaterial(1))))(b)
		must(b.kms.ReplicateKey(b.Context(), &kms.ReplicateKeyInput{KeyId: &primary, ReplicaRegion: aws.String(away)}))(b)
		time.Sleep(time.Minute)
		there := kms.NewFromConfig(b.world.Config(owner, away))
		if state := b.described(there, primary).KeyState; state != kmstypes.KeyStatePendingImport { // 3.6.3
			b.Errorf("3.6.3: the replica is %s", state)
		}
		_, err := there.ImportKeyMaterial(b.Context(), b.wrapped(there, primary, someMaterial(2)))
		requireErrorCode(b, err, "IncorrectKeyMaterialException")
		must(there.ImportKeyMaterial(b.Context(), b.wrapped(there, primary, someMaterial(1))))(b)
		sealed := ok(b.kms.Encrypt(b.Context(), &kms.EncryptInput{KeyId: &primary, Plaintext: []byte("same")}))(b).CiphertextBlob
		if got := ok(there.Decrypt(b.Context(), &kms.DecryptInput{CiphertextBlob: sealed}))(b); string(got.Plaintext) != "same" {
			b.Errorf("3.6.1: %q", got.Plaintext)
		}
	})
}
