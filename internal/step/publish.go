// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
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
	isOff     bool      // the user asked for an older release
	releaseOf func(ctx context.Context, at distribution.Location, imageID string) (imageRelease, error)
	looks     int // number of polls for an image that AWS does not show
}

// imageRelease is the release of an image.
type imageRelease struct {
	time.Time      // zero if the image has no tag that names its source image
	isProven  bool // its signature proves that a run delivered it for the release
}

// ErrImageNotShown says that AWS does not show an image. The image is gone or was registered moments ago (rule
// 4.4.1).
var ErrImageNotShown = errors.New("AWS does not show the image")

// maxReleaseLooks limits the polls for a published image, which take about 15 seconds.
const maxReleaseLooks = 3

// note returns a note if the published image has a newer release. Nil if it may be replaced. An image whose signature
// was changed counts too: its other tags may be correct, and keeping it can be undone.
func (c *releaseCheck) note(ctx context.Context, name, imageID string) ([]distribution.Finding, error) {
	if c.isOff || !isImageID(imageID) || invariant.ReleaseOrder.IsOff() {
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
	image, err := DescribeImage(ctx, c.client, c.imageID)
	if err != nil || image != nil && image.State == ec2types.ImageStateAvailable {
		return err
	}
	return c.wait.retry(fmt.Errorf("%s cannot be launched any more, and is named nowhere: "+
		"somebody has removed or disabled it since it was verified", c.imageID))
}

// releaseOf returns the release of an image: that of its signature, or without a valid one that of the source image
// that its tags name. The signing key is on the source image.
func (r *Run) releaseOf(ctx context.Context, at distribution.Location, imageID string) (imageRelease, error) {
	image, err := DescribeImage(ctx, r.Clients.EC2(at), imageID)
	if err != nil {
		return imageRelease{}, err
	}

	if image == nil {
		return imageRelease{}, ErrImageNotShown
	}

	resource := distribution.ImageResource(at, *image, nil, provenance.Expected{})
	source, ok := provenance.ParseSourceImage(resource.Tags[provenance.TagSource])
	switch {
	case !ok && r.isSourceAccount(at.Account): // a source image, which has its signing keys itself
		keys := provenance.ParseSigningKeys(resource.Tags)
		return imageRelease{Time: keys.Release(), isProven: len(keys) > 0}, nil
	case !ok:
		return imageRelease{}, nil
	}

	keys, err := r.keysOf(ctx, source)
	if err != nil {
		return imageRelease{}, err
	}

	signed := provenance.Judge{Source: source, Keys: keys, Runs: noRuns{}}.Judge(resource).Signed
	if signed == nil || signed.Role != provenance.Delivery {
		return imageRelease{Time: keys.Release()}, nil
	}

	return imageRelease{Time: signed.Release, isProven: true}, nil
}

// keysOf returns the signing keys of a source image of the source account.
func (r *Run) keysOf(ctx context.Context, source provenance.SourceImage) (provenance.SigningKeys, error) {
	if keys, ok := r.Keys[source]; ok {
		return keys, nil
	}

	if !r.isSourceAccount(source.Account) {
		return nil, nil
	}

	at := distribution.Location{Account: source.Account, Region: source.Region}
	image, err := DescribeImage(ctx, r.Clients.EC2(at), source.ImageID)
	if err != nil {
		return nil, err
	}

	if image == nil {
		return nil, ErrImageNotShown
	}

	return provenance.ParseSigningKeys(distribution.TagMap(image.Tags)), nil
}

// isSourceAccount reports whether an account has the source images of the run.
func (r *Run) isSourceAccount(account string) bool {
	for known := range r.Keys {
		if known.Account == account {
			return true
		}
	}
	return false
}

// noRuns implements provenance.Runs for judgments that do not depend on runs.
type noRuns struct{}

func (noRuns) IsOver(string, time.Time) bool { return true }
func (noRuns) Covers(string, time.Time) bool { return false }

// isReplaceable reports whether a step may replace an image. An empty list allows any.
func isReplaceable(replaces []string, imageID string) bool {
	return len(replaces) == 0 || slices.Contains(replaces, imageID)
}

// movedError returns the error that another run or a user changed a reference after the plan was made.
func movedError(name, imageID string) error {
	return fmt.Errorf("%s names %q since the plan was made, and is left as it is", name, imageID)
}
