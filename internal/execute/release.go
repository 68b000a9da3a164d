// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// releaseOf returns the release that an image was delivered for. Zero if no run provably delivered it. The signing
// key is on the image's source image.
func (t *executor) releaseOf(ctx context.Context, at distribution.Location, imageID string) (time.Time, error) {
	image, err := t.image(ctx, at, imageID)
	if err != nil {
		return time.Time{}, err
	}

	if image == nil {
		return time.Time{}, step.ErrImageNotShown
	}

	resource := distribution.ImageResource(at, *image, nil, provenance.Expected{})
	source, ok := provenance.ParseSourceImage(resource.Tags[provenance.TagSource])
	if !ok {
		return time.Time{}, nil
	}

	keys, err := t.keysOf(ctx, source)
	if err != nil {
		return time.Time{}, err
	}

	signed := provenance.Judge{Source: source, Keys: keys, Runs: noRuns{}}.Judge(resource).Signed
	if signed == nil || signed.Role != provenance.Delivery {
		return time.Time{}, nil
	}

	return signed.Release, nil
}

// keysOf returns the signing keys of a source image of the source account.
func (t *executor) keysOf(ctx context.Context, source provenance.SourceImage) (provenance.SigningKeys, error) {
	if keys, ok := t.keys[source]; ok {
		return keys, nil
	}

	isOwn := false
	for known := range t.keys {
		isOwn = isOwn || known.Account == source.Account
	}

	if !isOwn {
		return nil, nil
	}

	image, err := t.image(ctx, distribution.Location{Account: source.Account, Region: source.Region}, source.ImageID)
	if err != nil {
		return nil, err
	}

	if image == nil {
		return nil, step.ErrImageNotShown
	}

	return provenance.ParseSigningKeys(distribution.TagMap(image.Tags)), nil
}

// noRuns serves judgments that do not depend on runs.
type noRuns struct{}

func (noRuns) IsOver(string, time.Time) bool { return true }
func (noRuns) Covers(string, time.Time) bool { return false }
