// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ErrUnsigned keeps an image unpublished: an image without a signature may be somebody else's, with copied tags.
var ErrUnsigned = errors.New("the image has no signature, so it is not published; the warning about the signature says why")

// imageCheck makes sure that an image can be launched before something names it. Since it was verified, hours may have
// passed, and somebody may have removed it.
type imageCheck struct {
	client  *ec2.Client
	imageID string
	wait    consistencyWait
}

func (c *imageCheck) requireAvailable(ctx context.Context) error {
	image, err := describeImage(ctx, c.client, c.imageID)
	if err != nil || image != nil && image.State == ec2types.ImageStateAvailable {
		return err
	}
	return c.wait.retry(fmt.Errorf("%s cannot be launched any more, and is named nowhere: "+
		"somebody has removed or disabled it since it was verified", c.imageID))
}
