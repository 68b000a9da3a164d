// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

// storageOperation is an operation that creates EBS storage. Each has its own table of encryption rules.
type storageOperation int

const (
	volumeCreation storageOperation = iota // RunInstances and CreateVolume, rules 1.1
	snapshotCopy                           // rules 1.3
	imageCopy                              // rules 1.4
)

// dataSource is the source of the data of new storage.
type dataSource int

const (
	emptyVolume             dataSource = iota
	unencryptedSnapshot                // owned by the caller or shared
	ownEncryptedSnapshot               // owned by the caller
	sharedEncryptedSnapshot            // shared with the caller
)

func (o dataSource) isEncrypted() bool {
	return o == ownEncryptedSnapshot || o == sharedEncryptedSnapshot
}

// keyChoice says which key encrypts new storage.
type keyChoice int

const (
	noKey keyChoice = iota // unencrypted
	sourceKey
	defaultKey   // the account's EBS default key in the Region
	requestedKey // the key in the request
)

// encryptionParams are the encryption parameters of a request.
type encryptionParams struct {
	encrypted *bool
	key       *string // nil if absent; an empty string counts as present (rule 1.1.11)
}

func (e encryptionParams) isRequested() bool { return e.encrypted != nil && *e.encrypted }
func (e encryptionParams) isDeclined() bool  { return e.encrypted != nil && !*e.encrypted }

// chooseEncryptionKey implements the tables of rules 1.1, 1.3 and 1.4. CopyImage keeps the key of an own snapshot only
// within a Region (rules 1.4.4 and 1.4.9). sourceID appears in error messages.
func (w *World) chooseEncryptionKey(
	c *Call, by storageOperation, from dataSource, sourceID string, sameRegion bool, encryption encryptionParams,
) (keyChoice, error) {
	byDefault := w.settingsOf(c.location()).encryptByDefault
	switch {
	// Errors: a key without the Encrypted flag, and an unencrypted copy of an encrypted source.
	case by == volumeCreation && w.violates(c, "1.1.11", encryption.key != nil && !encryption.isRequested()):
		return noKey, keyWithoutEncrypted(c)
	case by == snapshotCopy && w.violates(c, "1.1.11", encryption.key != nil && !encryption.isRequested()):
		return noKey, keyWithoutEncrypted(c)
	case by == imageCopy && w.violates(c, "1.4.7", encryption.key != nil && !encryption.isRequested()):
		return noKey, keyWithoutEncrypted(c)
	case by == volumeCreation && w.violates(c, "1.1.12", encryption.isDeclined() && from.isEncrypted()):
		return noKey, badRequest(
			"InvalidParameterCombination",
			"EncryptedVolume parameter [false] is inconsistent with snapshot encryption state [true]",
		)
	case by == imageCopy && w.violates(c, "1.4.8", encryption.isDeclined() && from.isEncrypted()):
		return noKey, badRequest(
			"InvalidRequest",
			"Snapshot %s is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.", sourceID,
		)

	// A key in the request takes precedence in every operation (rules 1.1.10, 1.3.8 and 1.4.6).
	case by == volumeCreation && w.violates(c, "1.1.10", encryption.isRequested() && encryption.key != nil):
		return requestedKey, nil
	case by == snapshotCopy && w.violates(c, "1.3.8", encryption.isRequested() && encryption.key != nil):
		return requestedKey, nil
	case by == imageCopy && w.violates(c, "1.4.6", encryption.isRequested() && encryption.key != nil):
		return requestedKey, nil

	// Encrypted sources: volumes and images keep the caller's own key, snapshots never do.
	case by == volumeCreation && w.violates(c, "1.1.8", from == ownEncryptedSnapshot):
		return sourceKey, nil
	case by == volumeCreation && w.violates(c, "1.1.9", from == sharedEncryptedSnapshot):
		return defaultKey, nil
	case by == snapshotCopy && w.violates(c, "1.3.4", from.isEncrypted()):
		return defaultKey, nil // also if the EBS default key is not aws/ebs: rule 1.3.10, open question Q2
	case by == imageCopy && w.violates(c, "1.4.4", from == ownEncryptedSnapshot && sameRegion):
		return sourceKey, nil
	case by == imageCopy && w.violates(c, "1.4.9", from == ownEncryptedSnapshot && !sameRegion):
		return defaultKey, nil
	case by == imageCopy && w.violates(c, "1.4.5", from == sharedEncryptedSnapshot):
		return defaultKey, nil

	// Unencrypted sources and empty volumes: the flag or the account's setting decides.
	case by == volumeCreation && w.violates(c, "1.1.6", encryption.isRequested()):
		return defaultKey, nil
	case by == volumeCreation && w.violates(c, "1.1.7", byDefault):
		return defaultKey, nil
	case by == snapshotCopy && w.violates(c, "1.3.2", encryption.isRequested()):
		return defaultKey, nil
	case by == snapshotCopy && w.violates(c, "1.3.3", byDefault):
		return defaultKey, nil
	case by == imageCopy && w.violates(c, "1.4.3", encryption.isRequested()):
		return defaultKey, nil
	case by == imageCopy && w.violates(c, "1.4.2", byDefault):
		return defaultKey, nil
	}

	return noKey, nil
}

// keyWithoutEncrypted returns the error for a key without Encrypted. CreateVolume puts the parameter in brackets (rule
// A.4.5).
func keyWithoutEncrypted(c *Call) *APIError {
	name := "KmsKeyId"
	if c.Operation == "CreateVolume" {
		name = "[KmsKeyId]"
	}
	return badRequest("InvalidParameterDependency", "The parameter %s requires the parameter Encrypted to be set.", name)
}
