// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// protection is an image's deregistration protection. It is off for new images (rule A.2.1).
type protection struct {
	enabled, cooldown bool
	cooldownEnds      time.Time // end of the cooldown after the protection was disabled
}

// protectionDisabled is the only status of an unprotected image (rule A.2.3).
const protectionDisabled = "disabled"

func (p protection) status(now time.Time) string {
	switch {
	case p.enabled && p.cooldown:
		return "enabled-with-cooldown"
	case p.enabled:
		return "enabled-without-cooldown"
	case now.Before(p.cooldownEnds):
		return "disabled after " + formatTime(p.cooldownEnds)
	}
	return protectionDisabled
}

// authorizeImage authorizes an operation on an image of the caller and returns the image.
func (w *World) authorizeImage(c *Call, id *string) (*image, error) {
	if id == nil {
		return nil, missingParameter("ImageId")
	}
	if err := w.authorize(c, w.newImageAuthorization(c, c.Region, *id)); err != nil {
		return nil, err
	}
	found, err := w.findOwnImage(c, id)
	if err == nil {
		c.changedIDs = append(c.changedIDs, found.id)
	}
	return found, err
}

func (w *World) enableImageDeregistrationProtection(
	c *Call, in *ec2.EnableImageDeregistrationProtectionInput,
) (*ec2.EnableImageDeregistrationProtectionOutput, error) {
	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	i.protection = protection{enabled: true, cooldown: aws.ToBool(in.WithCooldown)}
	return &ec2.EnableImageDeregistrationProtectionOutput{Return: aws.String(i.protection.status(c.At))}, nil
}

// disableImageDeregistrationProtection disables the protection at once, or after a cooldown of a day (rule 9.5).
func (w *World) disableImageDeregistrationProtection(
	c *Call, in *ec2.DisableImageDeregistrationProtectionInput,
) (*ec2.DisableImageDeregistrationProtectionOutput, error) {
	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	if i.protection.enabled && w.violates(c, "9.5", i.protection.cooldown) {
		i.protection = protection{cooldownEnds: c.At.Add(24 * time.Hour)}
	} else if i.protection.enabled {
		i.protection = protection{}
	}

	return &ec2.DisableImageDeregistrationProtectionOutput{Return: aws.String(i.protection.status(c.At))}, nil
}

// disableImage disables an image and removes its launch permissions permanently (rule 9.2).
func (w *World) disableImage(c *Call, in *ec2.DisableImageInput) (*ec2.DisableImageOutput, error) {
	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	i.disabled = true
	if w.violates(c, "9.2", len(i.launchPermissions) > 0) {
		i.launchPermissions = nil
	}
	return &ec2.DisableImageOutput{Return: aws.Bool(true)}, nil
}

func (w *World) enableImage(c *Call, in *ec2.EnableImageInput) (*ec2.EnableImageOutput, error) {
	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	i.disabled = false
	return &ec2.EnableImageOutput{Return: aws.Bool(true)}, nil
}

// enableImageDeprecation sets the time of deprecation, rounded to minutes. The limit is ten years from now, or two
// years after the creation of a public image (rule 9.21).
func (w *World) enableImageDeprecation(
	c *Call, in *ec2.EnableImageDeprecationInput,
) (*ec2.EnableImageDeprecationOutput, error) {
	if in.DeprecateAt == nil {
		return nil, missingParameter("DeprecateAt")
	}

	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	at := in.DeprecateAt.UTC().Round(time.Minute)
	latest := c.At.AddDate(10, 0, 0)
	if w.isPublicImage(i) {
		latest = i.created.AddDate(2, 0, 0)
	}

	switch {
	case w.violates(c, "9.21", !at.After(c.At)):
		return nil, badRequest("InvalidParameterValue", "The deprecation date must be in the future.")
	case w.violates(c, "9.21", at.After(latest)):
		return nil, badRequest("InvalidParameterValue", "The deprecation date %s is too far ahead.", formatTime(at))
	}

	i.deprecateAt = at
	return &ec2.EnableImageDeprecationOutput{Return: aws.Bool(true)}, nil
}

func (w *World) disableImageDeprecation(
	c *Call, in *ec2.DisableImageDeprecationInput,
) (*ec2.DisableImageDeprecationOutput, error) {
	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}
	i.deprecateAt = time.Time{}
	return &ec2.DisableImageDeprecationOutput{Return: aws.Bool(true)}, nil
}

func (i *image) isDeprecated(now time.Time) bool {
	return !i.deprecateAt.IsZero() && !now.Before(i.deprecateAt)
}

// getImageAncestry returns the chain of source images that CreateImage and CopyImage recorded (rules 9.6 and 9.14).
func (w *World) getImageAncestry(c *Call, in *ec2.GetImageAncestryInput) (*ec2.GetImageAncestryOutput, error) {
	i, err := w.authorizeImage(c, in.ImageId)
	if err != nil {
		return nil, err
	}

	out := &ec2.GetImageAncestryOutput{}
	for ok := true; ok; i, ok = w.images.get(aws.ToString(i.attributes.SourceImageId)) {
		out.ImageAncestryEntries = append(out.ImageAncestryEntries, types.ImageAncestryEntry{
			ImageId:           &i.id,
			CreationDate:      toMilliseconds(i.created),
			ImageOwnerAlias:   ownerAlias(i.location.account),
			SourceImageId:     i.attributes.SourceImageId,
			SourceImageRegion: i.attributes.SourceImageRegion,
		})
	}

	return out, nil
}
