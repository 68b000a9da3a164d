// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// EnableProtection enables the deregistration protection of images that have none, and reads it back (rule A.2). It
// does not change a protection that no run record holds, because another user enabled it.
func EnableProtection(
	ctx context.Context,
	pool *awsclient.Pool,
	account string,
	images []distribution.SourceImage,
	say func(distribution.Event),
) ([]distribution.SourceImageResult, []distribution.Finding) {
	var steps []step.Step
	for _, image := range images {
		steps = append(steps, &step.EnableSourceProtection{
			Base: step.Base{
				ID:       step.NewID("protect", image.Region, image.ImageID),
				Location: distribution.Location{Account: account, Region: image.Region},
			},
			ImageID: image.ImageID,
		})
	}

	return runOnImages(ctx, pool, steps, images, say, func(end *distribution.SourceImageResult, d step.Outcome) {
		var missing step.MissingImageError
		end.Protected, end.Missing = d.ID != "", errors.As(d.Err, &missing)
		if created, err := time.Parse(time.RFC3339, d.CreationDate); err == nil {
			end.CreatedAt = created
		}
	})
}

// IsShown reports whether AWS shows an image. It is also true if the lookup fails.
func IsShown(ctx context.Context, pool *awsclient.Pool, at distribution.Location, id string) bool {
	image, err := step.DescribeImage(ctx, pool.EC2(at), id)
	return image != nil || err != nil
}

// CreationDate returns when an image was created.
func CreationDate(ctx context.Context, pool *awsclient.Pool, at distribution.Location, id string) (time.Time, error) {
	image, err := step.DescribeImage(ctx, pool.EC2(at), id)
	if err != nil {
		return time.Time{}, err
	}
	if image == nil {
		return time.Time{}, step.MissingImageError(id)
	}
	return time.Parse(time.RFC3339, aws.ToString(image.CreationDate))
}

// DisableProtection disables the protection that EnableProtection enabled.
func DisableProtection(
	ctx context.Context,
	pool *awsclient.Pool,
	account string,
	sources []distribution.SourceImageResult,
	say func(distribution.Event),
) ([]distribution.SourceImageResult, []distribution.Finding) {
	var steps []step.Step
	var images []distribution.SourceImage
	for _, source := range sources {
		if !source.Protected {
			continue
		}
		images = append(images, distribution.SourceImage{Region: source.Region, ImageID: source.ImageID})
		steps = append(steps, &step.DisableSourceProtection{
			Base: step.Base{
				ID:       step.NewID("lift", source.Region, source.ImageID),
				Location: distribution.Location{Account: account, Region: source.Region},
			},
			ImageID: source.ImageID,
		})
	}

	return runOnImages(
		ctx,
		pool,
		steps,
		images,
		say,
		func(end *distribution.SourceImageResult, d step.Outcome) { end.Protected = d.Err != nil },
	)
}

func runOnImages(
	ctx context.Context,
	pool *awsclient.Pool,
	steps []step.Step,
	images []distribution.SourceImage,
	say func(distribution.Event),
	update func(*distribution.SourceImageResult, step.Outcome),
) ([]distribution.SourceImageResult, []distribution.Finding) {
	done := run(ctx, pool, steps, nil, Options{}, say)
	var results []distribution.SourceImageResult
	var findings []distribution.Finding
	for i, s := range steps {
		d := done.Of(s.Meta().ID)
		result := distribution.SourceImageResult{Region: images[i].Region, ImageID: images[i].ImageID}
		update(&result, d)
		results = append(results, result)
		if f := explain(ctx, pool, s.Meta().Location.Account, s, d.Err); f != nil {
			findings = append(findings, *f)
		}
	}

	return results, findings
}
