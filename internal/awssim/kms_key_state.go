// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var keyStateOperations = []namedOperation{
	newOperation((*World).enableKey),
	newOperation((*World).disableKey),
	newOperation((*World).scheduleKeyDeletion),
	newOperation((*World).cancelKeyDeletion),
	newOperation((*World).enableKeyRotation),
	newOperation((*World).disableKeyRotation),
	newOperation((*World).rotateKeyOnDemand),
	newOperation((*World).getKeyRotationStatus),
}

// authorizeKeyStateChange authorizes enabling or disabling a key. A key that is pending import or deletion is refused.
func (w *World) authorizeKeyStateChange(c *Call, id *string) (*key, error) {
	found, err := w.authorizeKey(c, id, keyUse{action: "kms:" + c.Operation})
	if err != nil {
		return nil, err
	}
	if err := requireCustomerManaged(c, found); err != nil {
		return nil, err
	}
	return found, w.requireKeyState(c, found, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled)
}

func (w *World) enableKey(c *Call, in *kms.EnableKeyInput) (*kms.EnableKeyOutput, error) {
	found, err := w.authorizeKeyStateChange(c, in.KeyId)
	if err != nil {
		return nil, err
	}
	found.disabled = false
	c.recordChange(*found.Arn)
	return &kms.EnableKeyOutput{}, nil
}

func (w *World) disableKey(c *Call, in *kms.DisableKeyInput) (*kms.DisableKeyOutput, error) {
	found, err := w.authorizeKeyStateChange(c, in.KeyId)
	if err != nil {
		return nil, err
	}
	found.disabled = true
	c.recordChange(*found.Arn)
	return &kms.DisableKeyOutput{}, nil
}

func (w *World) scheduleKeyDeletion(c *Call, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	window := int32(30)
	if in.PendingWindowInDays != nil {
		window = *in.PendingWindowInDays
	}

	if err := validateRange(c, "PendingWindowInDays", in.PendingWindowInDays, 7, 30); err != nil {
		return nil, err
	}

	context := iampolicy.Context{"kms:ScheduleKeyDeletionPendingWindowInDays": {strconv.Itoa(int(window))}}
	found, err := w.authorizeKeyChange(c, in.KeyId, "kms:ScheduleKeyDeletion", context)
	if err != nil {
		return nil, err
	}

	found.deletionWindow, found.deletionScheduled = window, c.At
	c.recordChange(*found.Arn)
	out := &kms.ScheduleKeyDeletionOutput{KeyId: found.Arn, KeyState: found.stateAt(c.At), PendingWindowInDays: &window}
	if out.KeyState == kmstypes.KeyStatePendingDeletion {
		out.DeletionDate = aws.Time(found.deletionTime())
	}

	return out, nil
}

// cancelKeyDeletion cancels the deletion and leaves the key disabled.
func (w *World) cancelKeyDeletion(c *Call, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	found, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:CancelKeyDeletion"})
	if err != nil {
		return nil, err
	}
	if w.violates(c, "3.4", found.deletionWindow == 0) {
		return nil, badRequest("KMSInvalidStateException", "%s is not pending deletion.", *found.Arn)
	}
	found.deletionWindow, found.disabled = 0, true
	c.recordChange(*found.Arn)
	return &kms.CancelKeyDeletionOutput{KeyId: found.Arn}, nil
}

// authorizeRotationChange authorizes a change of a key's rotation. Automatic rotation needs the origin AWS_KMS (rule
// 3.5.3).
func (w *World) authorizeRotationChange(
	c *Call, id *string, automatic bool, context iampolicy.Context,
) (*key, error) {
	found, err := w.authorizeKey(c, id, keyUse{action: "kms:" + c.Operation, context: context})
	if err != nil {
		return nil, err
	}
	if err := requireCustomerManaged(c, found); err != nil {
		return nil, err
	}
	if err := w.requireKeyState(c, found, kmstypes.KeyStateEnabled); err != nil {
		return nil, err
	}

	if w.violates(c, "3.6.1", !found.isPrimary()) {
		return nil, badRequest(
			"UnsupportedOperationException", "%s is a multi-region replica key which is not valid for %s.", *found.Arn,
			c.Operation,
		)
	}

	external := found.Origin != kmstypes.OriginTypeAwsKms
	switch off := c.Operation == "DisableKeyRotation"; {
	case w.violates(c, "B.5.4", found.KeySpec != kmstypes.KeySpecSymmetricDefault && !off):
		return nil, badRequest("UnsupportedOperationException", "")
	case w.violates(c, "3.5.3", automatic && external && !off):
		return nil, badRequest(
			"UnsupportedOperationException", "%s origin is %s which is not valid for this operation.", *found.Arn, found.Origin,
		)
	}

	return found, nil
}

// Bounds of the period of automatic rotation in days (SDK EnableKeyRotation, RotationPeriodInDays).
const (
	shortestRotationPeriod = 90
	standardRotationPeriod = 365
	longestRotationPeriod  = 2560
)

func (w *World) enableKeyRotation(c *Call, in *kms.EnableKeyRotationInput) (*kms.EnableKeyRotationOutput, error) {
	err := validateRange(c, "RotationPeriodInDays", in.RotationPeriodInDays, shortestRotationPeriod, longestRotationPeriod)
	if w.violates(c, "B.5.3", err != nil) {
		return nil, err
	}

	context := iampolicy.Context{}
	if in.RotationPeriodInDays != nil {
		context["kms:RotationPeriodInDays"] = []string{strconv.Itoa(int(*in.RotationPeriodInDays))}
	}

	found, err := w.authorizeRotationChange(c, in.KeyId, true, context)
	if err != nil {
		return nil, err
	}
	found.rotationPeriod = cmp.Or(aws.ToInt32(in.RotationPeriodInDays), standardRotationPeriod)
	found.rotationStarted = c.At
	c.recordChange(*found.Arn)
	return &kms.EnableKeyRotationOutput{}, nil
}

func (w *World) disableKeyRotation(c *Call, in *kms.DisableKeyRotationInput) (*kms.DisableKeyRotationOutput, error) {
	found, err := w.authorizeRotationChange(c, in.KeyId, true, nil)
	if err != nil {
		return nil, err
	}
	found.rotationPeriod = 0
	c.recordChange(*found.Arn)
	return &kms.DisableKeyRotationOutput{}, nil
}

// onDemandRotationTime is how long an on-demand rotation is in progress. An observed rotation took 100 seconds.
const onDemandRotationTime = 100 * time.Second

// onDemandRotationLimit is the maximum number of on-demand rotations of a key (rule 3.5.3).
const onDemandRotationLimit = 25

// rotateKeyOnDemand makes another material current. Existing ciphertexts can still be decrypted (rule 3.5.3).
func (w *World) rotateKeyOnDemand(c *Call, in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	found, err := w.authorizeRotationChange(c, in.KeyId, false, nil)
	if err != nil {
		return nil, err
	}
	if w.violates(c, "3.5.3", found.material.onDemandRotations >= onDemandRotationLimit) {
		return nil, badRequest(
			"LimitExceededException",
			"The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed "+
				"for this key: %s", *found.Arn,
		)
	}

	if found.Origin == kmstypes.OriginTypeExternal {
		if !found.material.rotate() {
			return nil, badRequest(
				"KMSInvalidStateException", "No available key material pending rotation for the key: %s.", *found.Arn,
			)
		}
	} else {
		found.material.add(found, w.randomBytes(32, "key material", *found.KeyId))
	}

	found.material.onDemandRotations++
	found.onDemandRotation = c.At
	c.recordChange(*found.Arn)
	return &kms.RotateKeyOnDemandOutput{KeyId: found.Arn}, nil
}

func (w *World) getKeyRotationStatus(
	c *Call, in *kms.GetKeyRotationStatusInput,
) (*kms.GetKeyRotationStatusOutput, error) {
	found, err := w.authorizeKey(c, in.KeyId, keyUse{action: "kms:GetKeyRotationStatus"})
	if err != nil {
		return nil, err
	}

	out := &kms.GetKeyRotationStatusOutput{KeyId: found.Arn, KeyRotationEnabled: found.rotationPeriod > 0}
	if found.rotationPeriod > 0 {
		out.RotationPeriodInDays = aws.Int32(found.rotationPeriod)
		next := found.rotationStarted
		for !next.After(c.At) {
			next = next.AddDate(0, 0, int(found.rotationPeriod))
		}
		out.NextRotationDate = &next
	}

	inProgress := !found.onDemandRotation.IsZero() && c.At.Before(found.onDemandRotation.Add(onDemandRotationTime))
	if w.violates(c, "B.5.5", inProgress) {
		out.OnDemandRotationStartDate = aws.Time(found.onDemandRotation)
	}

	return out, nil
}
