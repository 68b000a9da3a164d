// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/origin"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// EnableProtection switches deregistration protection on for those images of an account that have none, and reads it back (A.2). A
// protection that no record of a run holds was set by someone else, and stays as it is.
func EnableProtection(ctx context.Context, pool *awsclient.Pool, account string, images []distribution.SourceImage, say func(distribution.Event)) ([]distribution.SourceImageResult, []distribution.Finding) {
	var steps []step.Step
	for _, image := range images {
		steps = append(steps, &step.EnableSourceProtection{
			Base:    step.Base{ID: distribution.StepID("protect/" + image.Region), Location: distribution.Location{Account: account, Region: image.Region}},
			ImageID: image.ImageID,
		})
	}
	return onImages(ctx, pool, steps, images, say, func(end *distribution.SourceImageResult, d StepOutcome) {
		end.Protected = d.Made != ""
	})
}

// DisableProtection switches the protection off that EnableProtection has switched on.
func DisableProtection(ctx context.Context, pool *awsclient.Pool, account string, sources []distribution.SourceImageResult, say func(distribution.Event)) ([]distribution.SourceImageResult, []distribution.Finding) {
	var steps []step.Step
	var images []distribution.SourceImage
	for _, source := range sources {
		if !source.Protected {
			continue
		}
		images = append(images, distribution.SourceImage{Region: source.Region, ImageID: source.ImageID})
		steps = append(steps, &step.DisableSourceProtection{
			Base:    step.Base{ID: distribution.StepID("lift/" + source.Region), Location: distribution.Location{Account: account, Region: source.Region}},
			ImageID: source.ImageID,
		})
	}
	return onImages(ctx, pool, steps, images, say, func(end *distribution.SourceImageResult, d StepOutcome) { end.Protected = d.Err != nil })
}

// Seal gives those images of an account that have no sealing key this one, and answers all with the key that stands. What the run makes is
// sealed with it, and found again by a later run.
func Seal(ctx context.Context, pool *awsclient.Pool, account string, key origin.Key, images []distribution.SourceImage, say func(distribution.Event)) ([]distribution.SourceImage, []distribution.Finding) {
	var steps []step.Step
	for _, image := range images {
		steps = append(steps, &step.SealImage{
			Base:    step.Base{ID: distribution.StepID("seal/" + image.Region), Location: distribution.Location{Account: account, Region: image.Region}},
			ImageID: image.ImageID, Key: key,
		})
	}
	sealed := slices.Clone(images)
	_, findings := onImages(ctx, pool, steps, images, say, func(end *distribution.SourceImageResult, d StepOutcome) {
		i := slices.IndexFunc(sealed, func(image distribution.SourceImage) bool { return image.Region == end.Region })
		sealed[i].SealKey = d.SealKey
	})
	return sealed, findings
}

func onImages(ctx context.Context, pool *awsclient.Pool, steps []step.Step, images []distribution.SourceImage, say func(distribution.Event), note func(*distribution.SourceImageResult, StepOutcome)) ([]distribution.SourceImageResult, []distribution.Finding) {
	done := run(ctx, pool, steps, Options{}, say)
	var ends []distribution.SourceImageResult
	var findings []distribution.Finding
	for i, s := range steps {
		d := done[s.Meta().ID]
		end := distribution.SourceImageResult{Region: images[i].Region, ImageID: images[i].ImageID}
		note(&end, d)
		ends = append(ends, end)
		if f := explain(ctx, pool, s.Meta().Location.Account, s, d.Err); f != nil {
			findings = append(findings, *f)
		}
	}
	return ends, findings
}

// protectImage makes an id of the image when the protection is ours: switched on now, or by an earlier run that did not end well.
func (t *transfer) protectImage(ctx context.Context, j *stepRun, s *step.EnableSourceProtection) StepOutcome {
	image, err := t.image(ctx, s.Location, s.ImageID)
	if err != nil {
		return StepOutcome{Err: err}
	}
	if image == nil {
		if j.patient() && j.memo.looks < 5 { // the builder has seen it as available: it is hardly late
			return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
		}
		return StepOutcome{Err: fmt.Errorf("AWS does not show %s", s.ImageID)}
	}
	switch {
	case step.IsProtected(*image) && (j.memo.changed || runrecord.IsProtectionHeld(tagsOf(image.Tags))):
		return StepOutcome{Made: s.ImageID}
	case step.IsProtected(*image):
		return StepOutcome{}
	case j.memo.changed: // switched on, and not seen yet
		if j.patient() {
			return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
		}
		return StepOutcome{Made: s.ImageID, Err: step.ErrNotProtected}
	}
	_, err = t.pool.EC2(s.Location).EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(s.ImageID)})
	if err == nil || awsclient.IsOutcomeUnknown(err) || ctx.Err() != nil {
		j.memo.made = s.ImageID // also if the run is canceled before it is read back
	}
	if err != nil {
		return StepOutcome{Err: err}
	}
	j.memo.changed = true
	return StepOutcome{Err: retryAfter{}}
}

// settling is how long after giving a key it is read back: runs that begin at once have all given theirs by then, and the last one stands.
const settling = 3 * time.Second

// sealImage leaves an image's own key as it is: what earlier runs sealed is proved by it. A key of its own is read back until it is shown (4.4.1).
func (t *transfer) sealImage(ctx context.Context, j *stepRun, s *step.SealImage) StepOutcome {
	image, err := t.image(ctx, s.Location, s.ImageID)
	switch {
	case err != nil:
		return StepOutcome{Err: err}
	case image != nil && has(image, origin.SealKey):
		d := StepOutcome{SealKey: origin.ParseKey(tagsOf(image.Tags)[origin.SealKey])}
		if j.memo.changed {
			d.Made = s.ImageID
		}
		return d
	case j.memo.changed && j.patient() && j.memo.looks < 5, image == nil && j.patient() && j.memo.looks < 3:
		return StepOutcome{Err: retryAfter{step.Backoff(j.memo.looks)}}
	case j.memo.changed: // AWS has taken it
		return StepOutcome{Made: s.ImageID, SealKey: s.Key}
	case image == nil: // that is told by who looks at everything
		return StepOutcome{}
	}
	if err := t.tag(ctx, s.Location, s.ImageID, map[string]string{origin.SealKey: s.Key.Tag()}); err != nil {
		return StepOutcome{Err: err}
	}
	j.memo.changed, j.memo.looks = true, 0
	return StepOutcome{Err: retryAfter{settling}}
}

// liftProtection switches the protection off, if it is still on.
func (t *transfer) liftProtection(ctx context.Context, s *step.DisableSourceProtection) StepOutcome {
	image, err := t.image(ctx, s.Location, s.ImageID)
	if err != nil || image == nil || !step.IsProtected(*image) {
		return StepOutcome{Err: err}
	}
	_, err = t.pool.EC2(s.Location).DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: aws.String(s.ImageID)})
	return StepOutcome{Made: s.ImageID, Err: err}
}

func has(image *ec2types.Image, key string) bool { _, there := tagsOf(image.Tags)[key]; return there }
