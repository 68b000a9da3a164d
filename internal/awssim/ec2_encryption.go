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
	managedKey   // aws/ebs
)

// encryptionParams are the encryption parameters of a request.
type encryptionParams struct {
	encrypted *bool
	key       *string // nil if absent; an empty string counts as present (rule 1.1.11)
}

func (e encryptionParams) isRequested() bool { return e.encrypted != nil && *e.encrypted }
func (e encryptionParams) isDeclined() bool  { return e.encrypted != nil && !*e.encrypted }

// hasKey reports whether the request names a key with the Encrypted flag.
func (e encryptionParams) hasKey() bool { return e.key != nil && e.isRequested() }

// hasKeyWithoutFlag reports whether the request names a key without the Encrypted flag.
func (e encryptionParams) hasKeyWithoutFlag() bool { return e.key != nil && !e.isRequested() }

// encryptionRequest holds what determines the encryption of new EBS storage.
type encryptionRequest struct {
	encryptionParams
	source     dataSource
	sourceID   string // appears in error messages
	sameRegion bool   // the source is in the Region of the request
}

// chooseEncryptionKey returns which key encrypts new storage. Each operation has its own table.
func (w *World) chooseEncryptionKey(c *Call, by storageOperation, request encryptionRequest) (keyChoice, error) {
	switch by {
	case snapshotCopy:
		return w.chooseSnapshotKey(c, request)
	case imageCopy:
		return w.chooseImageKey(c, request)
	}
	return w.chooseVolumeKey(c, request)
}

// chooseVolumeKey implements the table of rules 1.1.
func (w *World) chooseVolumeKey(c *Call, request encryptionRequest) (keyChoice, error) {
	switch {
	case w.violates(c, "1.1.11", request.hasKeyWithoutFlag()):
		return noKey, keyWithoutEncrypted(c)
	case w.violates(c, "1.1.12", request.isDeclined() && request.source.isEncrypted()):
		return noKey, badRequest(
			"InvalidParameterCombination",
			"EncryptedVolume parameter [false] is inconsistent with snapshot encryption state [true]",
		)
	case w.violates(c, "1.1.10", request.hasKey()):
		return requestedKey, nil
	case w.violates(c, "1.1.8", request.source == ownEncryptedSnapshot):
		return sourceKey, nil
	case w.violates(c, "1.1.9", request.source == sharedEncryptedSnapshot):
		return defaultKey, nil
	case w.violates(c, "1.1.6", request.isRequested()):
		return defaultKey, nil
	case w.violates(c, "1.1.7", w.encryptsByDefault(c)):
		return defaultKey, nil
	}

	return noKey, nil
}

// chooseSnapshotKey implements the table of rules 1.3. A copy never keeps the source's key.
func (w *World) chooseSnapshotKey(c *Call, request encryptionRequest) (keyChoice, error) {
	switch {
	case w.violates(c, "1.1.11", request.hasKeyWithoutFlag()):
		return noKey, keyWithoutEncrypted(c)
	case w.violates(c, "1.3.8", request.hasKey()):
		return requestedKey, nil
	case request.source.isEncrypted() && w.chooses(ManagedKeyForCopies):
		return managedKey, nil
	case w.violates(c, "1.3.4", request.source.isEncrypted()):
		return defaultKey, nil // also if the EBS default key is not aws/ebs: rule 1.3.10, open question Q2
	case w.violates(c, "1.3.2", request.isRequested()):
		return defaultKey, nil
	case w.violates(c, "1.3.3", w.encryptsByDefault(c)):
		return defaultKey, nil
	}

	return noKey, nil
}

// chooseImageKey implements the table of rules 1.4. Within a Region a copy keeps the key of the caller's own snapshot.
func (w *World) chooseImageKey(c *Call, request encryptionRequest) (keyChoice, error) {
	own := request.source == ownEncryptedSnapshot
	switch {
	case w.violates(c, "1.4.7", request.hasKeyWithoutFlag()):
		return noKey, keyWithoutEncrypted(c)
	case w.violates(c, "1.4.8", request.isDeclined() && request.source.isEncrypted()):
		return noKey, badRequest(
			"InvalidRequest",
			"Snapshot %s is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.",
			request.sourceID,
		)
	case w.violates(c, "1.4.6", request.hasKey()):
		return requestedKey, nil
	case w.violates(c, "1.4.4", own && request.sameRegion):
		return sourceKey, nil
	case w.violates(c, "1.4.9", own && !request.sameRegion):
		return defaultKey, nil
	case w.violates(c, "1.4.5", request.source == sharedEncryptedSnapshot):
		return defaultKey, nil
	case w.violates(c, "1.4.3", request.isRequested()):
		return defaultKey, nil
	case w.violates(c, "1.4.2", w.encryptsByDefault(c)):
		return defaultKey, nil
	}

	return noKey, nil
}

func (w *World) encryptsByDefault(c *Call) bool { return w.settingsOf(c.location()).encryptByDefault }

// keyWithoutEncrypted returns the error for a key without Encrypted. CreateVolume puts the parameter in brackets (rule
// A.4.5).
func keyWithoutEncrypted(c *Call) *APIError {
	name := "KmsKeyId"
	if c.Operation == "CreateVolume" {
		name = "[KmsKeyId]"
	}
	return badRequest("InvalidParameterDependency", "The parameter %s requires the parameter Encrypted to be set.", name)
}
