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

// wrapMaterial gets import parameters for a key and wraps the material.
func (f fixture) wrapMaterial(
	client *kms.Client, key string, material []byte, changes ...func(*kms.ImportKeyMaterialInput),
) *kms.ImportKeyMaterialInput {
	f.Helper()
	given := requireOutput(client.GetParametersForImport(f.Context(), &kms.GetParametersForImportInput{
		KeyId: &key, WrappingAlgorithm: kmstypes.AlgorithmSpecRsaesOaepSha256,
		WrappingKeySpec: kmstypes.WrappingKeySpecRsa2048,
	}))(f)

	in := &kms.ImportKeyMaterialInput{
		KeyId:                &key,
		ImportToken:          given.ImportToken,
		EncryptedKeyMaterial: f.wrap(given.PublicKey, sha256.New(), material),
		ExpirationModel:      kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire,
	}

	for _, change := range changes {
		change(in)
	}

	return in
}

func (f fixture) wrap(public []byte, with hash.Hash, material []byte) []byte {
	f.Helper()
	parsed := requireOutput(x509.ParsePKIXPublicKey(public))(f)
	return requireOutput(rsa.EncryptOAEP(with, rand.Reader, parsed.(*rsa.PublicKey), material, nil))(f)
}

// withExpiration sets the expiration of the material.
func withExpiration(moment time.Time) func(*kms.ImportKeyMaterialInput) {
	return func(in *kms.ImportKeyMaterialInput) {
		in.ExpirationModel, in.ValidTo = kmstypes.ExpirationModelTypeKeyMaterialExpires, &moment
	}
}

func fresh(in *kms.ImportKeyMaterialInput) { in.ImportType = kmstypes.ImportTypeNewKeyMaterial }

// newMaterial returns 32 bytes that differ for each n.
func newMaterial(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// createImportedKey creates a key of the owner with imported material that does not expire.
func (f fixture) createImportedKey() string {
	f.Helper()
	key := f.createKeyInState(kmstypes.KeyStatePendingImport)
	requireNoError(f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(1))))(f)
	return key
}

func TestImportKeyMaterial_usableUntilExpiredOrDeleted(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKeyInState(kmstypes.KeyStatePendingImport)
		expires := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		requireNoError(f.kms.ImportKeyMaterial(
			f.Context(), f.wrapMaterial(f.kms, key, newMaterial(1), withExpiration(expires)),
		))(f)

		got := f.describeKey(f.kms, key)
		if got.KeyState != kmstypes.KeyStateEnabled || !got.ValidTo.Equal(expires) ||
			got.ExpirationModel != kmstypes.ExpirationModelTypeKeyMaterialExpires {
			f.Errorf("3.5.1: %+v", got)
		}

		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: &key, Plaintext: []byte("text"),
		}))(f).CiphertextBlob

		waits := func(after string) {
			f.Helper()
			if got := f.describeKey(f.kms, key); got.KeyState != kmstypes.KeyStatePendingImport || got.ValidTo != nil {
				f.Errorf("3.5.1: after %s the key is %+v", after, got)
			}
			requireErrorCode(f, keyCalls["Encrypt"](f, key), "KMSInvalidStateException")
		}

		time.Sleep(24*time.Hour - time.Minute)
		if err := keyCalls["Encrypt"](f, key); err != nil {
			f.Errorf("3.5.1: a minute before: %v", err)
		}

		time.Sleep(time.Minute)
		waits("the expiry")
		_, err := f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(2)))
		requireErrorCode(f, err, "IncorrectKeyMaterialException")
		requireNoError(f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(1))))(f)
		decrypted := requireOutput(f.kms.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f)
		if string(decrypted.Plaintext) != "text" {
			f.Errorf("3.5.1: decrypted %q", decrypted.Plaintext)
		}

		requireNoError(f.kms.DeleteImportedKeyMaterial(f.Context(), &kms.DeleteImportedKeyMaterialInput{KeyId: &key}))(f)
		waits("the deletion")
	})
}

func TestImportKeyMaterial_invalid(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(f fixture, in *kms.ImportKeyMaterialInput)
		code  string
	}{
		"3.5.2 expiry without a date": {
			func(_ fixture, in *kms.ImportKeyMaterialInput) { in.ExpirationModel = "" }, "ValidationException",
		},
		"3.5.2 a date without expiry": {
			func(_ fixture, in *kms.ImportKeyMaterialInput) { in.ValidTo = aws.Time(time.Now().Add(time.Hour)) },
			"ValidationException",
		},
		"3.5.2 a date in the past": {
			func(_ fixture, in *kms.ImportKeyMaterialInput) {
				withExpiration(time.Now().Add(-time.Second))(in)
			}, "ValidationException",
		},
		"3.5.2 more than a year": {
			func(_ fixture, in *kms.ImportKeyMaterialInput) {
				withExpiration(time.Now().Add(year + time.Minute))(in)
			},
			"ValidationException",
		},
		"3.5.1 another key's token": {func(f fixture, in *kms.ImportKeyMaterialInput) {
			in.ImportToken = f.wrapMaterial(
				f.kms, f.createKeyInState(kmstypes.KeyStatePendingImport), newMaterial(1),
			).ImportToken
		}, "InvalidImportTokenException"},
		"3.5.1 no token": {
			func(_ fixture, in *kms.ImportKeyMaterialInput) { in.ImportToken = []byte("token") }, "InvalidImportTokenException",
		},
		"3.5.1 an expired token": {
			func(fixture, *kms.ImportKeyMaterialInput) { time.Sleep(25 * time.Hour) }, "ExpiredImportTokenException",
		},
		"3.5.1 a damaged wrapping": {func(_ fixture, in *kms.ImportKeyMaterialInput) {
			in.EncryptedKeyMaterial = bytes.Clone(in.EncryptedKeyMaterial)
			in.EncryptedKeyMaterial[7] ^= 1
		}, "InvalidCiphertextException"},
		"3.5.1 an origin of AWS": {
			func(f fixture, in *kms.ImportKeyMaterialInput) {
				in.KeyId = aws.String(f.createKey())
			}, "UnsupportedOperationException",
		},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				in := f.wrapMaterial(f.kms, f.createKeyInState(kmstypes.KeyStatePendingImport), newMaterial(1))
				row.spoil(f, in)
				_, err := f.kms.ImportKeyMaterial(f.Context(), in)
				requireErrorCode(f, err, row.code)
			})
		})
	}
}

func TestImportKeyMaterial_wrappingAlgorithms(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		for algorithm, hashing := range map[kmstypes.AlgorithmSpec]func() hash.Hash{ // 3.5.5
			kmstypes.AlgorithmSpecRsaesOaepSha1: sha1.New, kmstypes.AlgorithmSpecRsaesOaepSha256: sha256.New,
			kmstypes.AlgorithmSpecRsaesPkcs1V15: nil,
		} {
			key := f.createKeyInState(kmstypes.KeyStatePendingImport)
			given, err := f.kms.GetParametersForImport(f.Context(), &kms.GetParametersForImportInput{
				KeyId: &key, WrappingAlgorithm: algorithm, WrappingKeySpec: kmstypes.WrappingKeySpecRsa3072,
			})
			if hashing == nil {
				requireErrorCode(f, err, "UnsupportedOperationException")
				continue
			}

			requireNoError(0, err)(f)
			_, err = f.kms.ImportKeyMaterial(f.Context(), &kms.ImportKeyMaterialInput{
				KeyId:                &key,
				ImportToken:          given.ImportToken,
				EncryptedKeyMaterial: f.wrap(given.PublicKey, hashing(), newMaterial(1)),
				ExpirationModel:      kmstypes.ExpirationModelTypeKeyMaterialDoesNotExpire,
			})
			if err != nil || f.describeKey(f.kms, key).KeyState != kmstypes.KeyStateEnabled {
				f.Errorf("3.5.5: %s: %v", algorithm, err)
			}
		}
	})
}

// TestImportKeyMaterial_oneOfSeveralExpired covers rule B.5.6. Further key material cannot be imported while another
// one is pending rotation.
func TestImportKeyMaterial_oneOfSeveralExpired(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKeyInState(kmstypes.KeyStatePendingImport)
		first := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		requireNoError(f.kms.ImportKeyMaterial(
			f.Context(), f.wrapMaterial(f.kms, key, newMaterial(1), withExpiration(first)),
		))(f)

		requireErrorCode(f, keyCalls["RotateKeyOnDemand"](f, key), "KMSInvalidStateException") // no material is pending
		requireNoError(f.kms.ImportKeyMaterial(
			f.Context(), f.wrapMaterial(f.kms, key, newMaterial(2), withExpiration(first.Add(year/2)), fresh),
		))(f)

		_, err := f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, key, newMaterial(3), fresh))
		requireErrorMessage(f, err, "KMSInvalidStateException", "is pending rotation") // B.5.6
		before := *f.describeKey(f.kms, key).CurrentKeyMaterialId
		requireNoError(f.kms.RotateKeyOnDemand(f.Context(), &kms.RotateKeyOnDemandInput{KeyId: &key}))(f) // 3.5.3
		got := f.describeKey(f.kms, key)
		if *got.CurrentKeyMaterialId == before || !got.ValidTo.Equal(first) { // 3.5.2: the earliest of all
			f.Errorf("3.5.2: %+v", got)
		}

		rotations := requireOutput(f.kms.ListKeyRotations(f.Context(), &kms.ListKeyRotationsInput{
			KeyId: &key, IncludeKeyMaterial: kmstypes.IncludeKeyMaterialAllKeyMaterial,
		}))(f).Rotations
		if len(rotations) != 2 || *rotations[0].KeyMaterialId != before ||
			rotations[1].KeyMaterialState != kmstypes.KeyMaterialStateCurrent {
			f.Errorf("%+v", rotations)
		}

		time.Sleep(25 * time.Hour)
		if state := f.describeKey(f.kms, key).KeyState; state != kmstypes.KeyStatePendingImport {
			f.Errorf("3.5.2: the key is %s", state)
		}

		in := f.wrapMaterial(f.kms, key, newMaterial(1), func(in *kms.ImportKeyMaterialInput) {
			in.KeyMaterialId = got.CurrentKeyMaterialId
		})

		_, err = f.kms.ImportKeyMaterial(f.Context(), in)
		requireErrorCode(f, err, "IncorrectKeyMaterialException") // rule 3.5.2: the ID of the other material
		requireNoError(f.kms.ImportKeyMaterial(
			f.Context(),
			f.wrapMaterial(f.kms, key, newMaterial(1), func(in *kms.ImportKeyMaterialInput) { in.KeyMaterialId = &before }),
		))(f)

		if err := keyCalls["Encrypt"](f, key); err != nil {
			f.Error(err)
		}
	})
}

func TestReplicateKey_importedMaterial(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		primary := *requireOutput(f.kms.CreateKey(f.Context(), &kms.CreateKeyInput{
			Origin: kmstypes.OriginTypeExternal, MultiRegion: aws.Bool(true),
		}))(f).KeyMetadata.KeyId

		requireNoError(f.kms.ImportKeyMaterial(f.Context(), f.wrapMaterial(f.kms, primary, newMaterial(1))))(f)
		requireNoError(f.kms.ReplicateKey(f.Context(), &kms.ReplicateKeyInput{
			KeyId: &primary, ReplicaRegion: aws.String(away),
		}))(f)

		time.Sleep(time.Minute)
		remote := kms.NewFromConfig(f.world.Config(owner, away))
		if state := f.describeKey(remote, primary).KeyState; state != kmstypes.KeyStatePendingImport { // 3.6.3
			f.Errorf("3.6.3: the replica is %s", state)
		}

		_, err := remote.ImportKeyMaterial(f.Context(), f.wrapMaterial(remote, primary, newMaterial(2)))
		requireErrorCode(f, err, "IncorrectKeyMaterialException")
		requireNoError(remote.ImportKeyMaterial(f.Context(), f.wrapMaterial(remote, primary, newMaterial(1))))(f)
		encrypted := requireOutput(f.kms.Encrypt(f.Context(), &kms.EncryptInput{
			KeyId: &primary, Plaintext: []byte("same"),
		}))(f).CiphertextBlob

		got := requireOutput(remote.Decrypt(f.Context(), &kms.DecryptInput{CiphertextBlob: encrypted}))(f)
		if string(got.Plaintext) != "same" {
			f.Errorf("3.6.1: %q", got.Plaintext)
		}
	})
}
