// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// maxImageWatermarks is how many watermarks an image can have (rule 9.17).
const maxImageWatermarks = 5

var watermarkName = regexp.MustCompile(`^[a-zA-Z0-9()\[\] ./'@_-]{3,128}$`)

// attachImageWatermark attaches a watermark of the caller's account. CopyImage and CreateImage keep it, because the new
// image has the attributes of its source (rule 9.17). Attaching it again changes nothing (rule 9.27).
func (w *World) attachImageWatermark(
	c *Call, in *ec2.AttachImageWatermarkInput,
) (*ec2.AttachImageWatermarkOutput, error) {
	name := aws.ToString(in.WatermarkName)
	switch {
	case in.WatermarkName == nil:
		return nil, missingParameter("WatermarkName")
	case w.violates(c, "9.17", !watermarkName.MatchString(name)):
		return nil, badRequest("InvalidParameterValue", "Value (%s) for parameter watermarkName is invalid.", name)
	}

	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	key := c.location().account + ":" + name
	out := &ec2.AttachImageWatermarkOutput{WatermarkKey: &key}
	if i.hasWatermark(key) {
		return out, nil
	}

	switch {
	case w.violates(c, "9.17", w.isPublicImage(i)):
		return nil, badRequest("OperationNotPermitted", "Watermarks cannot be added to the public image %s.", i.id)
	case w.violates(c, "9.17", len(i.attributes.ImageWatermarks) >= maxImageWatermarks):
		return nil, badRequest("ResourceLimitExceeded", "An image can have %d watermarks.", maxImageWatermarks)
	}

	i.attributes.ImageWatermarks = append(slices.Clone(i.attributes.ImageWatermarks), types.ImageWatermark{
		WatermarkKey:            &key,
		WatermarkCreationTime:   aws.Time(c.At),
		SourceImageId:           &i.id,
		SourceImageRegion:       &i.location.region,
		SourceImageCreationTime: aws.Time(i.created),
	})
	return out, nil
}

func (i *image) hasWatermark(key string) bool {
	return slices.ContainsFunc(i.attributes.ImageWatermarks, func(has types.ImageWatermark) bool {
		return aws.ToString(has.WatermarkKey) == key
	})
}

// detachImageWatermark detaches a watermark of any account. Copies keep theirs, and detaching it again succeeds.
func (w *World) detachImageWatermark(
	c *Call, in *ec2.DetachImageWatermarkInput,
) (*ec2.DetachImageWatermarkOutput, error) {
	if in.WatermarkKey == nil {
		return nil, missingParameter("WatermarkKey")
	}

	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	i.attributes.ImageWatermarks = slices.DeleteFunc(
		slices.Clone(i.attributes.ImageWatermarks),
		func(has types.ImageWatermark) bool { return aws.ToString(has.WatermarkKey) == *in.WatermarkKey },
	)
	return &ec2.DetachImageWatermarkOutput{Return: aws.Bool(true)}, nil
}
