// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

// maker is the call that makes storage from storage: each has its own table of encryption.
type maker int

const (
	makesVolume    maker = iota // RunInstances, CreateVolume: 1.1
	copiesSnapshot              // 1.3
	copiesImage                 // 1.4
)

// origin is what the data is made from.
type origin int

const (
	nothing          origin = iota // an empty volume
	plain                          // an unencrypted snapshot, own or shared
	ownEncrypted                   // an encrypted snapshot of the caller
	foreignEncrypted               // an encrypted snapshot that is shared with the caller
)

func (o origin) encrypted() bool { return o == ownEncrypted || o == foreignEncrypted }

// keyChoice is the key that new storage is encrypted with.
type keyChoice int

const (
	noKey      keyChoice = iota // unencrypted
	sourceKey                   // the key of the source
	defaultKey                  // the account's default key for EBS in the Region
	givenKey                    // the key that the request names
)

// encryptionWish is what a request says about encryption.
type encryptionWish struct {
	encrypted *bool
	key       *string // nil: not given. An empty text counts as given (1.1.11)
}

func (e encryptionWish) on() bool  { return e.encrypted != nil && *e.encrypted }
func (e encryptionWish) off() bool { return e.encrypted != nil && !*e.encrypted }

// chooseKey is the tables 1.1, 1.3 and 1.4 as one function. SourceID is for the words of refusals; sameRegion matters to
// CopyImage alone, which keeps the key of an own snapshot where that key is (1.4.4, 1.4.9).
func (w *World) chooseKey(c *Call, by maker, from origin, sourceID string, sameRegion bool, wish encryptionWish) (keyChoice, error) {
	byDefault := w.setting(c.place()).encryptByDefault
	switch {
	// Refusals: a key without the flag, and an encrypted source that shall become unencrypted.
	case by == makesVolume && w.breaks(c, "1.1.11", wish.key != nil && !wish.on()):
		return noKey, keyWithoutFlag(c)
	case by == copiesSnapshot && w.breaks(c, "1.1.11", wish.key != nil && !wish.on()):
		return noKey, keyWithoutFlag(c)
	case by == copiesImage && w.breaks(c, "1.4.7", wish.key != nil && !wish.on()):
		return noKey, keyWithoutFlag(c)
	case by == makesVolume && w.breaks(c, "1.1.12", wish.off() && from.encrypted()):
		return noKey, invalid("InvalidParameterCombination", "EncryptedVolume parameter [false] is inconsistent with snapshot encryption state [true]")
	case by == copiesImage && w.breaks(c, "1.4.8", wish.off() && from.encrypted()):
		return noKey, invalid("InvalidRequest", "Snapshot %s is encrypted. Creating an unencrypted copy from an encrypted snapshot is not supported.", sourceID)

	// A key that is named is taken, by every call (1.1.10, 1.3.8, 1.4.6).
	case by == makesVolume && w.breaks(c, "1.1.10", wish.on() && wish.key != nil):
		return givenKey, nil
	case by == copiesSnapshot && w.breaks(c, "1.3.8", wish.on() && wish.key != nil):
		return givenKey, nil
	case by == copiesImage && w.breaks(c, "1.4.6", wish.on() && wish.key != nil):
		return givenKey, nil

	// Encrypted sources: volumes and images keep an own key, snapshots never do.
	case by == makesVolume && w.breaks(c, "1.1.8", from == ownEncrypted):
		return sourceKey, nil
	case by == makesVolume && w.breaks(c, "1.1.9", from == foreignEncrypted):
		return defaultKey, nil
	case by == copiesSnapshot && w.breaks(c, "1.3.4", from.encrypted()):
		return defaultKey, nil // also where the custom default key and aws/ebs differ: 1.3.10, an open question (Q2)
	case by == copiesImage && w.breaks(c, "1.4.4", from == ownEncrypted && sameRegion):
		return sourceKey, nil
	case by == copiesImage && w.breaks(c, "1.4.9", from == ownEncrypted && !sameRegion):
		return defaultKey, nil
	case by == copiesImage && w.breaks(c, "1.4.5", from == foreignEncrypted):
		return defaultKey, nil

	// Unencrypted sources and empty volumes: the flag or the account's setting.
	case by == makesVolume && w.breaks(c, "1.1.6", wish.on()):
		return defaultKey, nil
	case by == makesVolume && w.breaks(c, "1.1.7", byDefault):
		return defaultKey, nil
	case by == copiesSnapshot && w.breaks(c, "1.3.2", wish.on()):
		return defaultKey, nil
	case by == copiesSnapshot && w.breaks(c, "1.3.3", byDefault):
		return defaultKey, nil
	case by == copiesImage && w.breaks(c, "1.4.3", wish.on()):
		return defaultKey, nil
	case by == copiesImage && w.breaks(c, "1.4.2", byDefault):
		return defaultKey, nil
	}
	return noKey, nil
}

// keyWithoutFlag refuses a key where Encrypted is not set. CreateVolume words it with brackets (A.4.5).
func keyWithoutFlag(c *Call) *Refusal {
	name := "KmsKeyId"
	if c.Operation == "CreateVolume" {
		name = "[KmsKeyId]"
	}
	return invalid("InvalidParameterDependency", "The parameter %s requires the parameter Encrypted to be set.", name)
}
