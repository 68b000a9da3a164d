// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// ebsDefaultKey returns the account's EBS default key in a Region: aws/ebs unless another key was set (rule 1.7.1).
func (w *World) ebsDefaultKey(loc location) *key {
	if id := w.settingsOf(loc).defaultKey; id != "" {
		if found, ok := w.findKey(loc, id); ok {
			return found
		}
	}
	return w.awsManagedKey(loc, "ebs")
}

// findStorageKey returns the key of a snapshot or volume. Nil if it is unencrypted or the key does not exist.
func (w *World) findStorageKey(loc location, arn string) *key {
	if arn == "" {
		return nil
	}
	found, _ := w.findKey(loc, arn)
	return found
}

// isKeyDeleted reports whether data is encrypted with a deleted key. No caller can decrypt it (rule 3.4).
func (w *World) isKeyDeleted(c *Call, loc location, arn string) bool {
	return w.violates(c, "3.4", arn != "" && w.findStorageKey(loc, arn) == nil)
}

// resolveKeyChoice returns the key of a choice. Nil for an unencrypted resource and for a requested key that does not
// exist.
func (w *World) resolveKeyChoice(c *Call, choice keyChoice, given *string, sourceARN string) *key {
	switch choice {
	case sourceKey:
		return w.findStorageKey(c.location(), sourceARN)
	case defaultKey:
		return w.ebsDefaultKey(c.location())
	case managedKey:
		return w.awsManagedKey(c.location(), "ebs")
	case requestedKey:
		found, _ := w.findKeyInRegion(c, *given)
		return found
	}
	return nil
}

// findKeyInRegion returns the key that a request names for new storage. The key may belong to any account but must be
// in the call's Region (rules 1.7.5 and A.1.6).
func (w *World) findKeyInRegion(c *Call, id string) (*key, bool) {
	found, ok := w.findKey(c.location(), id)
	if !ok || w.violates(c, "1.7.5", regionOfARN(aws.ToString(found.Arn)) != c.Region) {
		return nil, false
	}
	return found, true
}

// validateRequestedKey checks the key of a CopySnapshot request: existence, state and DescribeKey (rules 1.8.1 to
// 1.8.3). Other problems show only in the copy.
func (w *World) validateRequestedKey(c *Call, id string) error {
	found, ok := w.findKeyInRegion(c, id)
	if w.violates(c, "1.8.2", !ok) {
		return badRequest("InvalidParameterValue", "The specified keyId %s is invalid", id)
	}
	if !ok {
		return nil
	}
	if w.violates(c, "1.8.3", !w.isKeyUseAllowed(c, found, "kms:DescribeKey", "ec2", false)) {
		return newAPIError(http.StatusForbidden, "AuthFailure", "Not authorized to use key %s ", id)
	}

	state := found.stateAt(c.At)
	switch {
	case w.violates(c, "1.8.1", state == kmstypes.KeyStateDisabled):
		return badRequest("InvalidParameterValue", "The specified keyId %s is disabled", id)
	case w.violates(c, "3.4", state == kmstypes.KeyStatePendingDeletion): // not observed on AWS (Q3)
		return badRequest("InvalidParameterValue", "The specified keyId %s is invalid", id)
	case state == kmstypes.KeyStatePendingImport && w.chooses(KeyStateChecked):
		return badRequest("InvalidParameterValue", "The specified keyId %s is invalid", id)
	case w.violates(c, "3.4.2", !isSymmetric(found)):
		return badRequest("InvalidParameterValue", "The specified keyId %s is invalid", id)
	}

	return nil
}

// isSymmetric reports whether EBS accepts the kind of a key (rule 3.4.2).
func isSymmetric(k *key) bool {
	return k.KeySpec == kmstypes.KeySpecSymmetricDefault && k.KeyUsage == kmstypes.KeyUsageTypeEncryptDecrypt
}

// isCopyKeyDenied reports whether a copy fails because of a key or a missing permission. The permissions are the
// observed ones, not the documented ones (rule 3.1.8). EC2 needs CreateGrant on both keys. A new data key also needs
// GenerateDataKeyWithoutPlaintext on the copy's key.
func (w *World) isCopyKeyDenied(c *Call, source, target *key, incremental bool) bool {
	allows := func(k *key, action string) bool {
		return w.isKeyUseAllowed(c, k, action, "ec2", action == "kms:CreateGrant")
	}
	if source != nil && (w.violates(c, "3.4", !w.isUsable(source)) ||
		w.violates(c, "3.1.3", !allows(source, "kms:CreateGrant"))) {
		return true
	}
	return target != nil && (w.violates(c, "3.4", !w.isUsable(target)) || w.violates(c, "3.4.2", !isSymmetric(target)) ||
		w.violates(c, "1.8.4", !allows(target, "kms:CreateGrant")) ||
		!incremental && w.violates(c, "3.1.8", !allows(target, "kms:GenerateDataKeyWithoutPlaintext")))
}

// isDirectCopyDenied reports whether a copy of another account's snapshot to another Region lacks a documented
// permission (rules 3.1.1 to 3.1.4). No recorded observation contains such a copy (rule A.1.7, Q8).
func (w *World) isDirectCopyDenied(c *Call, from location, source, target *key) bool {
	direct := from.account != c.location().account && from.region != c.Region
	if !w.chooses(DocumentedKeyPermissions) || !direct || source == nil || target == nil {
		return false
	}

	denied := func(k *key, actions ...string) bool {
		return slices.ContainsFunc(
			actions,
			func(action string) bool { return !w.isKeyUseAllowed(c, k, action, "ec2", false) },
		)
	}

	return denied(source, "kms:DescribeKey", "kms:Decrypt", "kms:ReEncryptFrom") ||
		denied(target, "kms:DescribeKey", "kms:Decrypt", "kms:ReEncryptTo", "kms:GenerateDataKeyWithoutPlaintext")
}

// isVolumeKeyDenied reports whether a volume cannot be created because of a key or a missing permission. If the keys
// differ, it needs ReEncryptFrom on the snapshot's key, where a copy needs CreateGrant (rule A.4.8).
func (w *World) isVolumeKeyDenied(c *Call, source, target *key) bool {
	allows := func(k *key, action string) bool {
		return w.isKeyUseAllowed(c, k, action, "ec2", action == "kms:CreateGrant")
	}

	if target == nil {
		return false
	}

	reencrypts := source != nil && source != target
	if reencrypts && (w.violates(c, "3.4", !w.isUsable(source)) ||
		w.violates(c, "A.4.8", !allows(source, "kms:ReEncryptFrom"))) {
		return true
	}
	if w.violates(c, "3.4", !w.isUsable(target)) || w.violates(c, "3.4.2", !isSymmetric(target)) ||
		w.violates(c, "A.4.9", !allows(target, "kms:CreateGrant")) {
		return true
	}
	if reencrypts && w.violates(c, "A.4.8", !allows(target, "kms:ReEncryptTo")) {
		return true
	}

	return source != target && w.violates(c, "A.4.8", !allows(target, "kms:GenerateDataKeyWithoutPlaintext"))
}
