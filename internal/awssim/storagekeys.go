// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// ebsKey is the account's default key for EBS in a Region: aws/ebs unless another was set (1.7.1).
func (w *World) ebsKey(at place) *key {
	if id := w.setting(at).defaultKey; id != "" {
		if found, there := w.findKey(at, id); there {
			return found
		}
	}
	return w.managedKey(at, "ebs")
}

// keyOf is the key that a snapshot or volume is encrypted with; nil for none.
func (w *World) keyOf(at place, arn string) *key {
	if arn == "" {
		return nil
	}
	found, _ := w.findKey(at, arn)
	return found
}

// keyLost reports whether data is under a key that has been deleted: nobody reads it again (3.4).
func (w *World) keyLost(c *Call, at place, arn string) bool {
	return w.breaks(c, "3.4", arn != "" && w.keyOf(at, arn) == nil)
}

// chosenKey is the key of a choice for new storage of the caller; nil for none, and for a named key that is not there.
func (w *World) chosenKey(c *Call, choice keyChoice, given *string, sourceARN string) *key {
	switch choice {
	case sourceKey:
		return w.keyOf(c.place(), sourceARN)
	case defaultKey:
		return w.ebsKey(c.place())
	case givenKey:
		found, _ := w.keyHere(c, *given)
		return found
	}
	return nil
}

// keyHere finds a key that a request names for new storage: of any account, but of the Region of the call (1.7.5, A.1.6).
func (w *World) keyHere(c *Call, id string) (*key, bool) {
	found, there := w.findKey(c.place(), id)
	if !there || w.breaks(c, "1.7.5", regionOfARN(aws.ToString(found.Arn)) != c.Region) {
		return nil, false
	}
	return found, true
}

// checkNamedKey is what CopySnapshot checks of a key that it is given before it accepts the request: existence, state,
// and DescribeKey (1.8.1 to 1.8.3). All else shows later.
func (w *World) checkNamedKey(c *Call, id string) error {
	found, there := w.keyHere(c, id)
	if w.breaks(c, "1.8.2", !there) {
		return invalid("InvalidParameterValue", "The specified keyId %s is invalid", id)
	}
	if !there {
		return nil
	}
	if w.breaks(c, "1.8.3", !w.keyAllows(c, found, "kms:DescribeKey", "ec2", false)) {
		return refuse(http.StatusForbidden, "AuthFailure", "Not authorized to use key %s ", id)
	}
	state := found.stateAt(c.At)
	switch {
	case w.breaks(c, "1.8.1", state == kmstypes.KeyStateDisabled):
		return invalid("InvalidParameterValue", "The specified keyId %s is disabled", id)
	case w.breaks(c, "3.4", state == kmstypes.KeyStatePendingDeletion): // not captured: an open question (Q3)
		return invalid("InvalidParameterValue", "The specified keyId %s is invalid", id)
	case w.breaks(c, "3.4.2", !symmetric(found)):
		return invalid("InvalidParameterValue", "The specified keyId %s is invalid", id)
	}
	return nil
}

// symmetric reports whether a key is of the kind that EBS takes (3.4.2).
func symmetric(k *key) bool {
	return k.KeySpec == kmstypes.KeySpecSymmetricDefault && k.KeyUsage == kmstypes.KeyUsageTypeEncryptDecrypt
}

// copyKeysFail reports whether a copy ends for want of a key or of rights on it. The rights are the observed ones, not the
// documented (3.1.8): on the source's key CreateGrant; on the copy's CreateGrant and, where a new data key is needed,
// GenerateDataKeyWithoutPlaintext. EC2 makes the grants for the caller.
func (w *World) copyKeysFail(c *Call, source, target *key, incremental bool) bool {
	allows := func(k *key, action string) bool {
		return w.keyAllows(c, k, action, "ec2", action == "kms:CreateGrant")
	}
	if source != nil && (w.breaks(c, "3.4", !w.usable(source)) || w.breaks(c, "3.1.3", !allows(source, "kms:CreateGrant"))) {
		return true
	}
	return target != nil && (w.breaks(c, "3.4", !w.usable(target)) || w.breaks(c, "3.4.2", !symmetric(target)) ||
		w.breaks(c, "1.8.4", !allows(target, "kms:CreateGrant")) ||
		!incremental && w.breaks(c, "3.1.8", !allows(target, "kms:GenerateDataKeyWithoutPlaintext")))
}

// volumeKeysFail is copyKeysFail for a volume, which needs other rights: from a snapshot under another key ReEncryptFrom
// on that key and not CreateGrant (A.4.8).
func (w *World) volumeKeysFail(c *Call, source, target *key) bool {
	allows := func(k *key, action string) bool {
		return w.keyAllows(c, k, action, "ec2", action == "kms:CreateGrant")
	}
	if target == nil {
		return false
	}
	reencrypts := source != nil && source != target
	if reencrypts && (w.breaks(c, "3.4", !w.usable(source)) || w.breaks(c, "A.4.8", !allows(source, "kms:ReEncryptFrom"))) {
		return true
	}
	if w.breaks(c, "3.4", !w.usable(target)) || w.breaks(c, "3.4.2", !symmetric(target)) || w.breaks(c, "A.4.9", !allows(target, "kms:CreateGrant")) {
		return true
	}
	if reencrypts && w.breaks(c, "A.4.8", !allows(target, "kms:ReEncryptTo")) {
		return true
	}
	return source != target && w.breaks(c, "A.4.8", !allows(target, "kms:GenerateDataKeyWithoutPlaintext"))
}
