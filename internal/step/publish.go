// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
)

// ErrUnsigned prevents publishing an image without a signature. Someone else may have created it and copied the
// tags.
var ErrUnsigned = errors.New(
	"the image has no signature, so it is not published; the warning about the signature says why",
)

// releaseCheck prevents replacing an image of a newer release.
type releaseCheck struct {
	at        distribution.Location
	release   time.Time // release of the image to publish
	releaseOf func(ctx context.Context, at distribution.Location, imageID string) (time.Time, error)
	looks     int // number of polls for an image that AWS does not show
}

// ErrImageNotShown says that AWS does not show an image. The image is gone or was registered moments ago (rule
// 4.4.1).
var ErrImageNotShown = errors.New("AWS does not show the image")

// maxReleaseLooks limits the polls for a published image, which take about 15 seconds.
const maxReleaseLooks = 3

// note returns a note if the published image has a newer release. Nil if it may be replaced.
func (c *releaseCheck) note(ctx context.Context, name, imageID string) ([]distribution.Finding, error) {
	if !isImageID(imageID) || invariant.ReleaseOrder.IsOff() {
		return nil, nil
	}

	release, err := c.releaseOf(ctx, c.at, imageID)
	if errors.Is(err, ErrImageNotShown) {
		if c.looks++; c.looks > maxReleaseLooks {
			return nil, nil
		}
		return nil, RetryAfter{Backoff(c.looks - 1)}
	}

	if err != nil || !release.After(c.release) {
		return nil, err
	}

	return []distribution.Finding{{
		Level:    distribution.Note,
		Code:     distribution.CodeNewerReleasePublished,
		Location: c.at,
		Resource: name,
		Summary:  fmt.Sprintf("%s still names %s", name, imageID),
		Detail:   fmt.Sprintf("that image is of a newer release, of %s", release.UTC().Format(time.RFC3339)),
	}}, nil
}

// imageCheck checks that an image can be launched before it is published. It may have been deregistered in the
// hours since its verification.
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
