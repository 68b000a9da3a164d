// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

// storageOperation is the call that makes storage from storage: each has its own table of encryption.
type storageOperation int

const (
	volumeCreation storageOperation = iota // RunInstances, CreateVolume: 1.1
	snapshotCopy                           // 1.3
	imageCopy                              // 1.4
)

// dataSource is what the data is made from.
type dataSource int

const (
	emptyVolume             dataSource = iota // an empty volume
	unencryptedSnapshot                       // an unencrypted snapshot, own or shared
	ownEncryptedSnapshot                      // an encrypted snapshot of the caller
	sharedEncryptedSnapshot                   // an encrypted snapshot that is shared with the caller
)

func (o dataSource) isEncrypted() bool {
	return o == ownEncryptedSnapshot || o == sharedEncryptedSnapshot
}

// keyChoice is the key that new storage is encrypted with.
type keyChoice int

const (
	noKey        keyChoice = iota // unencrypted
	sourceKey                     // the key of the source
	defaultKey                    // the account's default key for EBS in the Region
	requestedKey                  // the key that the request names
)

// encryptionParams is what a request says about encryption.
type encryptionParams struct {
	encrypted *bool
	key       *string // nil: not given. An empty text counts as given (1.1.11)
}

func (e encryptionParams) isRequested() bool { return e.encrypted != nil && *e.encrypted }
func (e encryptionParams) isDeclined() bool  { return e.encrypted != nil && !*e.encrypted }

// chooseEncryptionKey is the tables 1.1, 1.3 and 1.4 as one function. SourceID is for the words of refusals; sameRegion
// matters to CopyImage alone, which keeps the key of an own snapshot where that key is (1.4.4, 1.4.9).
func (w *World) chooseEncryptionKey(
	c *Call, by storageOperation, from dataSource, sourceID string, sameRegion bool, encryption encryptionParams,
) (keyChoice, error) {
	byDefault := w.settingsOf(c.location()).encryptByDefault
	switch {
	// Refusals: a key without the flag, and an encrypted source that shall become unencrypted.
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

	// A key that is named is taken, by every call (1.1.10, 1.3.8, 1.4.6).
	case by == volumeCreation && w.violates(c, "1.1.10", encryption.isRequested() && encryption.key != nil):
		return requestedKey, nil
	case by == snapshotCopy && w.violates(c, "1.3.8", encryption.isRequested() && encryption.key != nil):
		return requestedKey, nil
	case by == imageCopy && w.violates(c, "1.4.6", encryption.isRequested() && encryption.key != nil):
		return requestedKey, nil

	// Encrypted sources: volumes and images keep an own key, snapshots never do.
	case by == volumeCreation && w.violates(c, "1.1.8", from == ownEncryptedSnapshot):
		return sourceKey, nil
	case by == volumeCreation && w.violates(c, "1.1.9", from == sharedEncryptedSnapshot):
		return defaultKey, nil
	case by == snapshotCopy && w.violates(c, "1.3.4", from.isEncrypted()):
		return defaultKey, nil // also where the custom default key and aws/ebs differ: 1.3.10, an open question (Q2)
	case by == imageCopy && w.violates(c, "1.4.4", from == ownEncryptedSnapshot && sameRegion):
		return sourceKey, nil
	case by == imageCopy && w.violates(c, "1.4.9", from == ownEncryptedSnapshot && !sameRegion):
		return defaultKey, nil
	case by == imageCopy && w.violates(c, "1.4.5", from == sharedEncryptedSnapshot):
		return defaultKey, nil

	// Unencrypted sources and empty volumes: the flag or the account's setting.
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

// keyWithoutEncrypted refuses a key where Encrypted is not set. CreateVolume words it with brackets (A.4.5).
func keyWithoutEncrypted(c *Call) *APIError {
	name := "KmsKeyId"
	if c.Operation == "CreateVolume" {
		name = "[KmsKeyId]"
	}
	return badRequest("InvalidParameterDependency", "The parameter %s requires the parameter Encrypted to be set.", name)
}
