// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// copyImage copies an image from any Region in one call. The caller needs launch permission and access to the snapshots
// (rule A.1.8). A key that cannot be used ends in a failed image without a reason (rule 1.8.5). Whether AWS still does
// so is the open question Q1.
func (w *World) copyImage(c *Call, in *ec2.CopyImageInput) (*ec2.CopyImageOutput, error) {
	if aws.ToString(in.KmsKeyId) == "" {
		in.KmsKeyId = nil // the amazon builder of Packer sends an empty key ID with every copy to another Region
	}
	if err := w.validateCopyImage(c, in); err != nil {
		return nil, err
	}

	err := w.authorize(c, addTagOnCreate(c, in.TagSpecifications, w.newCopyImageAuthorizations(c, in)...)...)
	if err != nil {
		return nil, err
	}

	return runIdempotent(w, c, in.ClientToken, func() (*ec2.CopyImageOutput, error) {
		source, err := w.findImageToCopy(c, in)
		if err != nil {
			return nil, err
		}
		if err := w.validateNameAvailable(c, *in.Name); err != nil {
			return nil, err
		}

		if in.KmsKeyId != nil && w.chooses(ImageKeyChecked) {
			if err := w.validateRequestedKey(c, *in.KmsKeyId); err != nil {
				return nil, err
			}
		}

		choices, err := w.chooseCopyKeys(c, in, source)
		if err != nil {
			return nil, err
		}
		if err := w.checkImageCopyQuota(c); err != nil {
			return nil, err
		}

		share := 0.0
		if m := in.SnapshotCopyCompletionDurationMinutes; m != nil {
			if share, err = w.checkThroughputQuota(c, *in.SourceRegion, int32(*m), w.snapshotsOf(source)...); err != nil {
				return nil, err
			}
		}

		return &ec2.CopyImageOutput{ImageId: &w.startImageCopy(c, in, source, choices, share).id}, nil
	})
}

func (w *World) validateCopyImage(c *Call, in *ec2.CopyImageInput) error {
	if err := refuseUnmodeled(in, "Name", "SourceImageId", "SourceRegion", "ClientToken", "CopyImageTags", "Description",
		"Encrypted", "KmsKeyId",
		"SnapshotCopyCompletionDurationMinutes", "TagSpecifications"); err != nil {
		return err
	}

	switch {
	case in.SourceImageId == nil:
		return missingParameter("SourceImageId")
	case in.SourceRegion == nil:
		return missingParameter("SourceRegion")
	case !isValidID(*in.SourceImageId, "ami-"):
		return malformedImageID(*in.SourceImageId)
	case len(aws.ToString(in.ClientToken)) > 64:
		return badRequest("InvalidParameterValue", "The client token is longer than 64 characters.")
	}

	_, known := findRegion(*in.SourceRegion)
	if w.violates(c, "6.4", !known || partitionOf(*in.SourceRegion) != partitionOf(c.Region)) {
		return badRequest("InvalidRegion", "%s is not a valid region name.", *in.SourceRegion)
	}
	if err := w.validateImageName(c, in.Name); err != nil {
		return err
	}
	if err := w.validateDescription(c, in.Description); err != nil {
		return err
	}
	if m := in.SnapshotCopyCompletionDurationMinutes; m != nil && w.violates(c, "4.8.1", !isValidDuration(*m)) {
		return invalidDuration(*m)
	}

	return w.validateTagSpecifications(c, in.TagSpecifications, types.ResourceTypeImage, types.ResourceTypeSnapshot)
}

// newCopyImageAuthorizations returns the requests of CopyImage: the new image, the source image, its snapshots and the
// new snapshots (rule 2.4.3).
func (w *World) newCopyImageAuthorizations(c *Call, in *ec2.CopyImageInput) []AuthorizationRequest {
	requests := []AuthorizationRequest{
		newImageCreationAuthorization(c), w.newImageAuthorization(c, *in.SourceRegion, *in.SourceImageId),
	}

	if source, ok := w.images.get(*in.SourceImageId); ok {
		for _, device := range source.attributes.BlockDeviceMappings {
			if device.Ebs != nil && device.Ebs.SnapshotId != nil {
				requests = append(requests, w.newCopySourceAuthorization(c, *in.SourceRegion, *device.Ebs.SnapshotId))
			}
		}
	}

	requests = append(requests, newAuthorization(c, c.location(), "snapshot/*"))
	if aws.ToBool(in.CopyImageTags) {
		tagging := newImageCreationAuthorization(c).withContext(iampolicy.Context{"ec2:CreateAction": {c.Operation}})
		tagging.Action = "ec2:CreateTags"
		requests = append(requests, tagging)
	}

	return requests
}

// findImageToCopy returns the source image, or the error that prevents the copy.
func (w *World) findImageToCopy(c *Call, in *ec2.CopyImageInput) (*image, error) {
	source, err := w.findLaunchableImage(c, *in.SourceRegion, *in.SourceImageId)
	if err != nil {
		return nil, err
	}

	state, _ := source.stateAt(c.At)
	caller := c.location().account
	switch {
	case state != types.ImageStateAvailable:
		return nil, badRequest(
			"InvalidAMIID.Unavailable", "The image %s is not available; its state is %s.", source.id, state,
		)
	case w.violates(c, "2.3.1", source.platform.isMarketplace() && source.location.account != caller):
		return nil, badRequest("InvalidRequest", "Images from AWS Marketplace cannot be copied to another AWS account")
	case source.attributes.RootDeviceType != types.DeviceTypeEbs:
		return nil, badRequest("InvalidRequest", "Images with an instance store root device cannot be copied here")
	}

	for _, part := range w.snapshotsOf(source) {
		if w.violates(c, "2.2.8", !w.isReadableBy(caller, part)) {
			return nil, badRequest("InvalidRequest", "You do not have permission to access the storage of this ami")
		}
	}

	return source, nil
}

// snapshotsOf returns the snapshots of an image.
func (w *World) snapshotsOf(i *image) (all []*snapshot) {
	for _, device := range i.attributes.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			if s, ok := w.snapshots.get(*device.Ebs.SnapshotId); ok {
				all = append(all, s)
			}
		}
	}
	return all
}

// chooseCopyKeys returns the key choice for each snapshot. A request names one key for all snapshots (rule 1.4.12).
func (w *World) chooseCopyKeys(c *Call, in *ec2.CopyImageInput, source *image) (map[string]keyChoice, error) {
	choices := map[string]keyChoice{}
	for _, part := range w.snapshotsOf(source) {
		choice, err := w.chooseEncryptionKey(c, imageCopy, encryptionRequest{
			encryptionParams: encryptionParams{in.Encrypted, in.KmsKeyId},
			source:           dataSourceOf(part, c.location()),
			sourceID:         part.id,
			sameRegion:       *in.SourceRegion == c.Region,
		})
		if err != nil {
			return nil, err
		}
		choices[part.id] = choice
	}

	return choices, nil
}

// startImageCopy starts the snapshot copies and creates the image. The image keeps what CopyImage keeps (rule 2.4).
func (w *World) startImageCopy(
	c *Call, in *ec2.CopyImageInput, source *image, choices map[string]keyChoice, share float64,
) *image {
	created := &image{
		attributes: source.attributes,
		isCopy:     true,
		uefiData:   source.uefiData,
		platform:   source.platform,
	}

	created.attributes.Name = in.Name
	if in.Description != nil || !w.chooses(InheritedDescription) {
		created.attributes.Description = nonZero(in.Description)
	}
	if w.chooses(InheritedDeprecation) {
		created.deprecateAt = source.deprecateAt
	}
	created.attributes.SourceImageId = &source.id
	created.attributes.SourceImageRegion = in.SourceRegion
	created.attributes.SourceInstanceId = nil
	created.attributes.BlockDeviceMappings = nil
	for _, device := range source.attributes.BlockDeviceMappings {
		if device.Ebs == nil || device.Ebs.SnapshotId == nil {
			created.attributes.BlockDeviceMappings = append(created.attributes.BlockDeviceMappings, device)
			continue
		}

		if copied := created.copyOf(*device.Ebs.SnapshotId); copied != nil && w.chooses(OneCopyForAllDevices) {
			created.addCopiedDevice(device, copied)
			continue
		}

		part, ok := w.snapshots.get(*device.Ebs.SnapshotId)
		params := snapshotCopyParams{
			source:          part,
			readable:        ok,
			sourceID:        *device.Ebs.SnapshotId,
			sourceRegion:    *in.SourceRegion,
			keyChoice:       choices[*device.Ebs.SnapshotId],
			keyID:           in.KmsKeyId,
			throughputShare: share,
			tags:            in.TagSpecifications,
		}

		if in.SnapshotCopyCompletionDurationMinutes != nil {
			params.durationMinutes = aws.Int32(int32(*in.SnapshotCopyCompletionDurationMinutes))
		}
		copied := w.startSnapshotCopy(c, params)
		created.snapshots = append(created.snapshots, copied)
		created.addCopiedDevice(device, copied)
		if w.chooses(ImageCopiesCounted) {
			counted := &w.copyEndTimesIn(c.location()).snapshots
			*counted = append(*counted, copied.progress.ends)
		}
	}

	w.addImage(c, created, in.TagSpecifications)
	w.copyImageTags(c, in, source, created)
	ends := c.At
	for _, part := range created.snapshots {
		part.description = copyDescription(created.id, source.id, part.source, c.At)
		if part.progress.ends.After(ends) {
			ends = part.progress.ends
		}
	}

	under := &w.copyEndTimesIn(created.location).images
	*under = append(*under, ends)
	return created
}

// copyOf returns the copy of a snapshot in a copied image. Nil if there is none yet.
func (i *image) copyOf(source string) *snapshot {
	for _, part := range i.snapshots {
		if part.source == source {
			return part
		}
	}
	return nil
}

// addCopiedDevice adds a device of the source image, with the copy of its snapshot.
func (i *image) addCopiedDevice(device types.BlockDeviceMapping, copied *snapshot) {
	ebs := *device.Ebs
	ebs.SnapshotId, ebs.Encrypted = &copied.id, nil
	i.attributes.BlockDeviceMappings = append(
		i.attributes.BlockDeviceMappings, types.BlockDeviceMapping{DeviceName: device.DeviceName, Ebs: &ebs},
	)
}

// copyDescription returns the description that EC2 gives to the snapshots of a copied image.
func copyDescription(imageID, sourceID, snapshotID string, now time.Time) string {
	return fmt.Sprintf(
		"Copied for DestinationAmi %s from SourceAmi %s for SourceSnapshot %s. Task created on %d.", imageID, sourceID,
		snapshotID, now.UnixMilli(),
	)
}

// copyImageTags copies tags of the source. With CopyImageTags these are all tags of the caller's own image, and the
// shared tags of another account's image (rules 2.4 and 9.13). Tags of the request take precedence.
func (w *World) copyImageTags(c *Call, in *ec2.CopyImageInput, source, created *image) {
	from, ok := w.resources[source.id]
	if !ok {
		return
	}

	own := source.location.account == created.location.account
	for _, key := range sortedKeys(from.tags) {
		_, asked := w.resources[created.id].tags[key]
		travels := own && aws.ToBool(in.CopyImageTags) || strings.HasPrefix(key, sharedTagPrefix)
		if !asked && !strings.HasPrefix(key, "aws:") && w.violates(c, "2.4", travels) {
			w.resources[created.id].tags[key] = from.tags[key]
		}
	}
}
