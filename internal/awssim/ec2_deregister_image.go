// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// deregisterImage deregisters an image. Its snapshots remain unless DeleteAssociatedSnapshots is set. Then it deletes
// each snapshot that no other image uses and that the caller may delete (rule 9.11).
func (w *World) deregisterImage(c *Call, in *ec2.DeregisterImageInput) (*ec2.DeregisterImageOutput, error) {
	if in.ImageId == nil {
		return nil, missingParameter("ImageId")
	}
	if err := w.authorize(c, w.newImageAuthorization(c, c.Region, *in.ImageId)); err != nil {
		return nil, err
	}

	deleted, err := w.findOwnImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	if w.violates(c, "A.2.1", deleted.protection.status(c.At) != protectionDisabled) {
		return nil, w.imageProtected(deleted.id)
	}

	deleted.deregistered = true
	delete(w.resources, deleted.id)
	c.recordChange(deleted.id)
	out := &ec2.DeregisterImageOutput{Return: aws.Bool(true)}
	for _, device := range deleted.attributes.BlockDeviceMappings {
		if aws.ToBool(in.DeleteAssociatedSnapshots) && device.Ebs != nil && device.Ebs.SnapshotId != nil {
			out.DeleteSnapshotResults = append(out.DeleteSnapshotResults, types.DeleteSnapshotReturnCode{
				SnapshotId: device.Ebs.SnapshotId, ReturnCode: w.deleteAssociatedSnapshot(c, *device.Ebs.SnapshotId),
			})
		}
	}

	return out, nil
}

// deleteAssociatedSnapshot deletes a snapshot of a deregistered image and returns the result.
func (w *World) deleteAssociatedSnapshot(c *Call, id string) types.SnapshotReturnCodes {
	s, ok := w.snapshots.get(id)
	request := w.newSnapshotAuthorization(c, id)
	request.Action = "ec2:DeleteSnapshot"
	switch {
	case !ok:
		return types.SnapshotReturnCodesErrorCodeInternalError
	case w.violates(c, "9.11", len(w.imagesUsing(id)) > 0):
		return types.SnapshotReturnCodesWarnSkipped
	case w.violates(c, "9.11", w.authorize(c, request) != nil):
		return types.SnapshotReturnCodesErrorMissingPermissions
	case w.chooses(KeptSnapshots):
		return types.SnapshotReturnCodesErrorCodeInternalError
	case w.violates(c, "9.3", s.lock.isActive(c.At)):
		return types.SnapshotReturnCodesErrorCodeClientError
	}

	w.removeSnapshot(c, s)
	return types.SnapshotReturnCodesSuccess
}

// imageProtected returns the error for deregistering a protected image. AWS does not publish its code and message (rule
// A.2.2, Q9).
func (w *World) imageProtected(id string) *APIError {
	if w.chooses(OtherRefusals) {
		return badRequest("InvalidRequest", "Deregistration of %s is prevented.", id)
	}
	return badRequest("OperationNotPermitted", "The image %s has deregistration protection enabled.", id)
}
