// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var keyStateOperations = []named{
	op((*World).enableKey),
	op((*World).disableKey),
	op((*World).scheduleKeyDeletion),
	op((*World).cancelKeyDeletion),
	op((*World).enableKeyRotation),
	op((*World).disableKeyRotation),
	op((*World).rotateKeyOnDemand),
	op((*World).getKeyRotationStatus),
}

// switched finds a key of the caller's to be enabled or disabled, which a key that waits for material or deletion cannot be.
func (w *World) switched(c *Call, id *string) (*key, error) {
	found, err := w.keyFor(c, id, keyUse{action: "kms:" + c.Operation})
	if err != nil {
		return nil, err
	}
	if err := mustBeCustomers(c, found); err != nil {
		return nil, err
	}
	return found, w.mustBe(c, found, kmstypes.KeyStateEnabled, kmstypes.KeyStateDisabled)
}

func (w *World) enableKey(c *Call, in *kms.EnableKeyInput) (*kms.EnableKeyOutput, error) {
	found, err := w.switched(c, in.KeyId)
	if err != nil {
		return nil, err
	}
	found.disabled = false
	c.changed(*found.Arn)
	return &kms.EnableKeyOutput{}, nil
}

func (w *World) disableKey(c *Call, in *kms.DisableKeyInput) (*kms.DisableKeyOutput, error) {
	found, err := w.switched(c, in.KeyId)
	if err != nil {
		return nil, err
	}
	found.disabled = true
	c.changed(*found.Arn)
	return &kms.DisableKeyOutput{}, nil
}

func (w *World) scheduleKeyDeletion(c *Call, in *kms.ScheduleKeyDeletionInput) (*kms.ScheduleKeyDeletionOutput, error) {
	window := int32(30)
	if in.PendingWindowInDays != nil {
		window = *in.PendingWindowInDays
	}
	if window < 7 || window > 30 {
		return nil, ill(c, "PendingWindowInDays", in.PendingWindowInDays, "Member must have value between 7 and 30")
	}
	context := iampolicy.Context{"kms:ScheduleKeyDeletionPendingWindowInDays": {strconv.Itoa(int(window))}}
	found, err := w.changeable(c, in.KeyId, "kms:ScheduleKeyDeletion", context)
	if err != nil {
		return nil, err
	}
	found.window, found.scheduled = window, c.At
	c.changed(*found.Arn)
	out := &kms.ScheduleKeyDeletionOutput{KeyId: found.Arn, KeyState: found.stateAt(c.At), PendingWindowInDays: &window}
	if out.KeyState == kmstypes.KeyStatePendingDeletion {
		out.DeletionDate = aws.Time(found.deletion())
	}
	return out, nil
}

// cancelKeyDeletion gives a key back, disabled.
func (w *World) cancelKeyDeletion(c *Call, in *kms.CancelKeyDeletionInput) (*kms.CancelKeyDeletionOutput, error) {
	found, err := w.keyFor(c, in.KeyId, keyUse{action: "kms:CancelKeyDeletion"})
	if err != nil {
		return nil, err
	}
	if w.breaks(c, "3.4", found.window == 0) {
		return nil, invalid("KMSInvalidStateException", "%s is not pending deletion.", *found.Arn)
	}
	found.window, found.disabled = 0, true
	c.changed(*found.Arn)
	return &kms.CancelKeyDeletionOutput{KeyId: found.Arn}, nil
}

// rotating finds a key of the caller's whose rotation is to be changed: of AWS_KMS origin where AWS is to rotate it (3.5.3).
func (w *World) rotating(c *Call, id *string, automatic bool) (*key, error) {
	found, err := w.keyFor(c, id, keyUse{action: "kms:" + c.Operation})
	if err != nil {
		return nil, err
	}
	if err := mustBeCustomers(c, found); err != nil {
		return nil, err
	}
	if err := w.mustBe(c, found, kmstypes.KeyStateEnabled); err != nil {
		return nil, err
	}
	external := found.Origin != kmstypes.OriginTypeAwsKms
	if w.breaks(c, "3.5.3", found.KeySpec != kmstypes.KeySpecSymmetricDefault || automatic && external) {
		return nil, invalid("UnsupportedOperationException", "%s origin is %s which is not valid for this operation.", *found.Arn, found.Origin)
	}
	if w.breaks(c, "3.6.1", !found.primary()) {
		return nil, invalid("UnsupportedOperationException", "%s is a replica: its primary key is rotated.", *found.Arn)
	}
	return found, nil
}

func (w *World) enableKeyRotation(c *Call, in *kms.EnableKeyRotationInput) (*kms.EnableKeyRotationOutput, error) {
	if err := only(in, "KeyId"); err != nil {
		return nil, err
	}
	found, err := w.rotating(c, in.KeyId, true)
	if err != nil {
		return nil, err
	}
	found.rotates = true
	c.changed(*found.Arn)
	return &kms.EnableKeyRotationOutput{}, nil
}

func (w *World) disableKeyRotation(c *Call, in *kms.DisableKeyRotationInput) (*kms.DisableKeyRotationOutput, error) {
	found, err := w.rotating(c, in.KeyId, true)
	if err != nil {
		return nil, err
	}
	found.rotates = false
	c.changed(*found.Arn)
	return &kms.DisableKeyRotationOutput{}, nil
}

// rotationLimit is how often a key can be rotated on demand (3.5.3).
const rotationLimit = 25

// rotateKeyOnDemand takes another material for what is encrypted from now on. Nothing else changes, and what was encrypted stays readable (3.5.3).
func (w *World) rotateKeyOnDemand(c *Call, in *kms.RotateKeyOnDemandInput) (*kms.RotateKeyOnDemandOutput, error) {
	found, err := w.rotating(c, in.KeyId, false)
	if err != nil {
		return nil, err
	}
	if w.breaks(c, "3.5.3", found.ring.onDemand >= rotationLimit) {
		return nil, invalid("LimitExceededException", "You have reached the limit of %d on-demand rotations of %s.", rotationLimit, *found.Arn)
	}
	if found.Origin == kmstypes.OriginTypeExternal {
		if !found.ring.takeNext() {
			return nil, invalid("KMSInvalidStateException", "%s has no imported key material that waits for rotation.", *found.Arn)
		}
	} else {
		found.ring.add(found, w.drawBytes(32, "key material", *found.KeyId))
	}
	found.ring.onDemand++
	c.changed(*found.Arn)
	return &kms.RotateKeyOnDemandOutput{KeyId: found.Arn}, nil
}

func (w *World) getKeyRotationStatus(c *Call, in *kms.GetKeyRotationStatusInput) (*kms.GetKeyRotationStatusOutput, error) {
	found, err := w.keyFor(c, in.KeyId, keyUse{action: "kms:GetKeyRotationStatus"})
	if err != nil {
		return nil, err
	}
	out := &kms.GetKeyRotationStatusOutput{KeyId: found.Arn, KeyRotationEnabled: found.rotates}
	if found.rotates {
		out.RotationPeriodInDays = aws.Int32(365)
		next := *found.CreationDate
		for !next.After(c.At) {
			next = next.AddDate(0, 0, 365)
		}
		out.NextRotationDate = &next
	}
	return out, nil
}
