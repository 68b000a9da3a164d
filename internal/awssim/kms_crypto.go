// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var cryptoOperations = []namedOperation{
	newOperation((*World).encrypt),
	newOperation((*World).decrypt),
	newOperation((*World).reEncrypt),
	newOperation((*World).generateDataKey),
	newOperation((*World).generateDataKeyWithoutPlaintext),
}

// inaccessibleKeyMessage is the message for a ciphertext whose key the caller cannot find (rule 3.4.3).
const inaccessibleKeyMessage = "The ciphertext refers to a customer master key that does not exist, does not exist " +
	"in this region, or you are not allowed to access."

// ciphertext holds data that AES-GCM encrypted with a key material. The encryption context is authenticated.
type ciphertext struct {
	Account  string
	KeyID    string
	Material string
	Nonce    []byte
	Text     []byte
}

var ciphertextPrefix = []byte{1, 2, 2, 0} // prefix of KMS ciphertexts

func (s ciphertext) encode() []byte {
	written, err := json.Marshal(s)
	if err != nil {
		panic(err) // marshals only strings and bytes
	}
	return append(slices.Clone(ciphertextPrefix), written...)
}

func decodeCiphertext(blob []byte) (s ciphertext, ok bool) {
	written, ok := bytes.CutPrefix(blob, ciphertextPrefix)
	return s, ok && json.Unmarshal(written, &s) == nil
}

// encryptData encrypts data with the current key material.
func (w *World) encryptData(k *key, plaintext []byte, context map[string]string) ciphertext {
	with := k.material.current()
	box := with.aead()
	nonce := w.randomBytes(box.NonceSize(), "nonce", *k.KeyId)
	return ciphertext{
		k.location.account, *k.KeyId, with.id, nonce, box.Seal(nil, nonce, plaintext, encodeEncryptionContext(context)),
	}
}

// decryptData decrypts data with the key material that encrypted it. A replica decrypts data of its primary key (rule
// 3.6.1).
func (k *key) decryptData(s ciphertext, context map[string]string) ([]byte, bool) {
	for _, with := range k.material.materials {
		if with.id == s.Material && s.KeyID == *k.KeyId && len(s.Nonce) == with.aead().NonceSize() {
			plaintext, err := with.aead().Open(nil, s.Nonce, s.Text, encodeEncryptionContext(context))
			return plaintext, err == nil
		}
	}
	return nil, false
}

func (m *keyMaterial) aead() cipher.AEAD {
	block, err := aes.NewCipher(m.secret)
	if err != nil {
		panic(err) // key materials have 32 bytes
	}
	box, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return box
}

func encodeEncryptionContext(context map[string]string) []byte {
	written, err := json.Marshal(context) // sorts the keys
	if err != nil {
		panic(err)
	}
	if len(context) == 0 {
		return nil
	}
	return written
}

// encryptionContextKeys returns the condition keys of a cryptographic operation.
func encryptionContextKeys(pairs map[string]string) iampolicy.Context {
	context := iampolicy.Context{"kms:EncryptionAlgorithm": {string(kmstypes.EncryptionAlgorithmSpecSymmetricDefault)}}
	for key, value := range pairs {
		context["kms:EncryptionContext:"+key] = []string{value}
	}
	return context
}

// requireSymmetricAlgorithm refuses algorithms of asymmetric keys.
func requireSymmetricAlgorithm(algorithms ...kmstypes.EncryptionAlgorithmSpec) error {
	for _, algorithm := range algorithms {
		if algorithm != "" && algorithm != kmstypes.EncryptionAlgorithmSpecSymmetricDefault {
			return badRequest("InvalidKeyUsageException", "The simulated AWS does not encrypt with %s.", algorithm)
		}
	}
	return nil
}

// validateEncryptionKey refuses a key whose state (rule 3.4) or kind (rule 3.4.2) prevents encryption.
func (w *World) validateEncryptionKey(c *Call, k *key) error {
	if err := w.requireKeyState(c, k, kmstypes.KeyStateEnabled); err != nil {
		return err
	}
	if k.material.current() == nil {
		return badRequest("KMSInvalidStateException", "%s is pending import.", *k.Arn)
	}
	if w.violates(
		c, "3.4.2", k.KeySpec != kmstypes.KeySpecSymmetricDefault || k.KeyUsage != kmstypes.KeyUsageTypeEncryptDecrypt,
	) {
		return badRequest(
			"InvalidKeyUsageException", "%s key usage is %s which is not valid for %s.", *k.Arn, k.KeyUsage, c.Operation,
		)
	}

	return nil
}

// authorizeEncryption returns the key that a call encrypts with, after it authorized the call and checked the key.
func (w *World) authorizeEncryption(
	c *Call, id *string, action string, context map[string]string, tokens []string,
) (*key, error) {
	if err := w.validateGrantTokens(c, tokens); err != nil {
		return nil, err
	}
	found, err := w.authorizeKey(c, id, keyUse{action: action, context: encryptionContextKeys(context)})
	if err != nil {
		return nil, err
	}
	return found, w.validateEncryptionKey(c, found)
}

// maxPlaintextSize is the maximum number of bytes that Encrypt encrypts.
const maxPlaintextSize = 4096

// validatePlaintext checks the size of a plaintext. The message does not contain the plaintext.
func (w *World) validatePlaintext(c *Call, size int) error {
	const message = "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have " +
		"length %s than or equal to %d"
	switch {
	case w.violates(c, "B.5.7", size < 1):
		return badRequest("ValidationException", message, "greater", 1)
	case w.violates(c, "B.5.7", size > maxPlaintextSize):
		return badRequest("ValidationException", message, "less", maxPlaintextSize)
	}
	return nil
}

func (w *World) encrypt(c *Call, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	if err := requireSymmetricAlgorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := w.validatePlaintext(c, len(in.Plaintext)); err != nil {
		return nil, err
	}

	k, err := w.authorizeEncryption(c, in.KeyId, "kms:Encrypt", in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	return &kms.EncryptOutput{
		CiphertextBlob: w.encryptData(
			k, in.Plaintext, in.EncryptionContext,
		).encode(), KeyId: k.Arn, EncryptionAlgorithm: kmstypes.EncryptionAlgorithmSpecSymmetricDefault,
	}, nil
}

// decryptionParams are the parameters of a call that decrypts: a ciphertext, or only a key for a dry run without
// ciphertext (rule 6.7).
type decryptionParams struct {
	blob      []byte
	keyID     *string
	context   map[string]string
	modifiers []kmstypes.DryRunModifierType
	action    string
}

// authorizeDecryption returns the key that decrypts and the decoded ciphertext, after it authorized the call and
// checked the key.
func (w *World) authorizeDecryption(c *Call, with decryptionParams) (*key, ciphertext, error) {
	use := keyUse{action: with.action, context: encryptionContextKeys(with.context)}
	ignore := slices.Contains(with.modifiers, kmstypes.DryRunModifierTypeIgnoreCiphertext)
	if w.violates(c, "6.7", ignore && (!c.DryRun || with.keyID == nil)) {
		return nil, ciphertext{}, badRequest("ValidationException", "DryRunModifiers need DryRun and the ID of the key.")
	}

	var text ciphertext
	if !ignore {
		var ok bool
		if text, ok = decodeCiphertext(with.blob); !ok {
			return nil, text, badRequest("InvalidCiphertextException", "")
		}
	}

	if w.violates(c, "B.5.8", !ignore && isOtherRegionsReplica(c, with.keyID, text.KeyID)) {
		return nil, text, incorrectKey()
	}

	if with.keyID == nil { // the ciphertext names the key, in the call's Region
		arn := kmsARN(location{text.Account, c.Region}, "key/"+text.KeyID)
		if _, ok := w.findKey(c.location(), arn); w.violates(c, "3.4.3", !ok) {
			return nil, text, badRequest("AccessDeniedException", inaccessibleKeyMessage)
		}
		with.keyID = &arn
	}

	found, err := w.resolveKey(c, with.keyID, &use)
	if err != nil {
		return nil, text, err
	}
	if err := w.authorize(c, found.newAuthorization(use)); err != nil {
		return nil, text, err
	}
	if err := w.validateEncryptionKey(c, found); err != nil {
		return nil, text, err
	}
	if w.violates(c, "3.7", !ignore && *found.KeyId != text.KeyID) {
		return nil, text, incorrectKey()
	}

	return found, text, nil
}

// isOtherRegionsReplica reports whether a request names the key of the ciphertext in another Region. KMS compares the
// keys before it looks the ARN up.
func isOtherRegionsReplica(c *Call, name *string, id string) bool {
	return name != nil && strings.HasPrefix(*name, "arn:") && strings.HasSuffix(*name, ":key/"+id) &&
		regionOfARN(*name) != c.Region
}

func incorrectKey() *APIError {
	return badRequest(
		"IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.",
	)
}

func (w *World) decrypt(c *Call, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	err := refuseUnmodeled(
		in, "CiphertextBlob", "DryRunModifiers", "EncryptionAlgorithm", "EncryptionContext", "GrantTokens", "KeyId",
	)
	if err != nil {
		return nil, err
	}
	if err := requireSymmetricAlgorithm(in.EncryptionAlgorithm); err != nil {
		return nil, err
	}
	if err := w.validateGrantTokens(c, in.GrantTokens); err != nil {
		return nil, err
	}

	k, text, err := w.authorizeDecryption(c, decryptionParams{
		in.CiphertextBlob, in.KeyId, in.EncryptionContext, in.DryRunModifiers, "kms:Decrypt",
	})
	if err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	plaintext, ok := k.decryptData(text, in.EncryptionContext)
	if !ok {
		return nil, badRequest("InvalidCiphertextException", "")
	}

	return &kms.DecryptOutput{
		Plaintext:           plaintext,
		KeyId:               k.Arn,
		EncryptionAlgorithm: kmstypes.EncryptionAlgorithmSpecSymmetricDefault,
		KeyMaterialId:       &text.Material,
	}, nil
}

func (w *World) reEncrypt(c *Call, in *kms.ReEncryptInput) (*kms.ReEncryptOutput, error) {
	if err := requireSymmetricAlgorithm(in.SourceEncryptionAlgorithm, in.DestinationEncryptionAlgorithm); err != nil {
		return nil, err
	}

	source, text, err := w.authorizeDecryption(c, decryptionParams{
		in.CiphertextBlob, in.SourceKeyId, in.SourceEncryptionContext, in.DryRunModifiers, "kms:ReEncryptFrom",
	})
	if err != nil {
		return nil, err
	}

	destination, err := w.authorizeEncryption(
		c, in.DestinationKeyId, "kms:ReEncryptTo", in.DestinationEncryptionContext, in.GrantTokens,
	)
	if err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	plaintext, ok := source.decryptData(text, in.SourceEncryptionContext)
	if !ok {
		return nil, badRequest("InvalidCiphertextException", "")
	}

	created := w.encryptData(destination, plaintext, in.DestinationEncryptionContext)
	algorithm := kmstypes.EncryptionAlgorithmSpecSymmetricDefault
	return &kms.ReEncryptOutput{
		CiphertextBlob:                 created.encode(),
		KeyId:                          destination.Arn,
		SourceKeyId:                    source.Arn,
		SourceEncryptionAlgorithm:      algorithm,
		DestinationEncryptionAlgorithm: algorithm,
		SourceKeyMaterialId:            &text.Material,
		DestinationKeyMaterialId:       aws.String(created.Material),
	}, nil
}

// dataKeyLength returns the length of a data key in bytes.
func dataKeyLength(c *Call, spec kmstypes.DataKeySpec, number *int32) (int, error) {
	switch {
	case (spec == "") == (number == nil):
		return 0, badRequest("ValidationException", "Please specify either number of bytes or key spec.")
	case number != nil:
		return int(*number), validateRange(c, "NumberOfBytes", number, 1, 1024)
	case strings.HasSuffix(string(spec), "128"):
		return 16, nil
	}
	return 32, nil
}

func (w *World) generateDataKey(c *Call, in *kms.GenerateDataKeyInput) (*kms.GenerateDataKeyOutput, error) {
	if err := refuseUnmodeled(in, "KeyId", "EncryptionContext", "GrantTokens", "KeySpec", "NumberOfBytes"); err != nil {
		return nil, err
	}

	length, err := dataKeyLength(c, in.KeySpec, in.NumberOfBytes)
	if err != nil {
		return nil, err
	}

	k, err := w.authorizeEncryption(c, in.KeyId, "kms:GenerateDataKey", in.EncryptionContext, in.GrantTokens)
	if err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	plaintext := w.randomBytes(length, "data key", *k.Arn, c.caller.principal.ARN)
	created := w.encryptData(k, plaintext, in.EncryptionContext)
	return &kms.GenerateDataKeyOutput{
		CiphertextBlob: created.encode(),
		Plaintext:      plaintext,
		KeyId:          k.Arn,
		KeyMaterialId:  &created.Material,
	}, nil
}

func (w *World) generateDataKeyWithoutPlaintext(
	c *Call, in *kms.GenerateDataKeyWithoutPlaintextInput,
) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	length, err := dataKeyLength(c, in.KeySpec, in.NumberOfBytes)
	if err != nil {
		return nil, err
	}

	k, err := w.authorizeEncryption(
		c, in.KeyId, "kms:GenerateDataKeyWithoutPlaintext", in.EncryptionContext, in.GrantTokens,
	)
	if err != nil {
		return nil, err
	}
	if err := w.endKMSDryRun(c); err != nil {
		return nil, err
	}

	created := w.encryptData(
		k, w.randomBytes(length, "data key", *k.Arn, c.caller.principal.ARN), in.EncryptionContext,
	)

	return &kms.GenerateDataKeyWithoutPlaintextOutput{
		CiphertextBlob: created.encode(), KeyId: k.Arn, KeyMaterialId: &created.Material,
	}, nil
}
