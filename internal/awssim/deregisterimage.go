// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// deregisterImage takes an image out of use. Its snapshots stay, unless they are asked to go: then each is deleted if the
// caller may, and if no other image uses it (9.11).
func (w *World) deregisterImage(c *Call, in *ec2.DeregisterImageInput) (*ec2.DeregisterImageOutput, error) {
	if in.ImageId == nil {
		return nil, missing("ImageId")
	}
	if err := w.authorise(c, w.askImage(c, c.Region, *in.ImageId)); err != nil {
		return nil, err
	}
	doomed, err := w.ownImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	// The code is an inference (A.2.2, Q9); nobody may match on the text.
	if w.breaks(c, "A.2.1", doomed.protection.text(c.At) != unprotected) {
		return nil, invalid("OperationNotPermitted", "The image %s has deregistration protection enabled.", doomed.id)
	}
	doomed.gone = true
	delete(w.labels, doomed.id)
	c.changed(doomed.id)
	out := &ec2.DeregisterImageOutput{Return: aws.Bool(true)}
	for _, device := range doomed.about.BlockDeviceMappings {
		if aws.ToBool(in.DeleteAssociatedSnapshots) && device.Ebs != nil && device.Ebs.SnapshotId != nil {
			out.DeleteSnapshotResults = append(out.DeleteSnapshotResults, types.DeleteSnapshotReturnCode{
				SnapshotId: device.Ebs.SnapshotId, ReturnCode: w.deleteAlong(c, *device.Ebs.SnapshotId),
			})
		}
	}
	return out, nil
}

// deleteAlong deletes a snapshot of a deregistered image and tells how that went.
func (w *World) deleteAlong(c *Call, id string) types.SnapshotReturnCodes {
	s, there := w.snapshots.get(id)
	question := w.askSnapshot(c, id)
	question.Action = "ec2:DeleteSnapshot"
	switch {
	case !there:
		return types.SnapshotReturnCodesErrorCodeInternalError
	case w.breaks(c, "9.11", len(w.imagesOf(id)) > 0):
		return types.SnapshotReturnCodesWarnSkipped
	case w.breaks(c, "9.11", w.authorise(c, question) != nil):
		return types.SnapshotReturnCodesErrorMissingPermissions
	case w.breaks(c, "9.3", s.lock.holds(c.At)):
		return types.SnapshotReturnCodesErrorCodeClientError
	}
	w.dropSnapshot(c, s)
	return types.SnapshotReturnCodesSuccess
}
