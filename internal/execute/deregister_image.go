// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

func (t *executor) deregisterImage(ctx context.Context, j *stepRun, s *step.DeregisterImage) StepOutcome {
	id := j.id(s.Image)
	if s.Unless != nil {
		right, err := t.isReplacementUnneeded(ctx, j, s.Unless)
		if err != nil {
			return StepOutcome{Err: err}
		}
		if right { // whoever is to have the name takes it with the image
			return StepOutcome{Notes: []distribution.Finding{{Level: distribution.Note, Location: s.Location, Resource: id, Summary: "the image " + id + " stays", Detail: "it is what was asked for: it had not been seen whole when the plan was made"}}}
		}
	}
	left, err := t.deregister(ctx, imageDeletion{
		at:         s.Location,
		id:         id,
		expected:   s.Expected,
		release:    s.Release,
		isReplaced: s.Name != "",
	}, s.WithSnapshots)
	if errors.Is(err, errNotShown) && j.keepPolling() { // created just now (rule 4.4.1)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}
	if err != nil {
		left = append(left, distribution.RetainedResource{At: s.Location, Kind: "image", Resource: id, Why: reason(err)})
	}
	return StepOutcome{ID: id, Retained: left, Err: err}
}

// rightByNow looks once more at an image that an earlier run made, before it makes way: the plan's look may have been stale, or have spanned its completion
// (4.4.1). That it is not what it has to be counts when it lasts.
func (t *executor) isReplacementUnneeded(ctx context.Context, j *stepRun, s *step.VerifyImage) (bool, error) {
	image, err := t.image(ctx, s.Location, s.Image.Known)
	if err != nil {
		return false, err
	}
	right := image != nil && image.State == ec2types.ImageStatePending // another run makes it
	if image != nil && !right {
		if right, err = t.isAsSpecified(ctx, j, s, *image); err != nil {
			return false, err
		}
	}
	if !right && j.keepRechecking() {
		return false, retryAfter{step.Backoff(j.state.polls)}
	}
	return right, nil
}

// fits reports an image that is what it has to be, by whatever snapshots.
func (t *executor) isAsSpecified(ctx context.Context, j *stepRun, s *step.VerifyImage, image ec2types.Image) (bool, error) {
	uses := snapshotsByDevice(image)
	seen := *s
	seen.Snapshots = map[string]step.ExpectedSnapshot{}
	for device, wanted := range s.Snapshots {
		if uses[device] == "" {
			return false, nil
		}
		wanted.Snapshot = step.Ref{Known: uses[device]}
		seen.Snapshots[device] = wanted
	}
	snapshots, err := t.verifiedSnapshots(ctx, j, &seen)
	if err != nil {
		return false, err
	}
	_, wrong := findWrongSnapshots(&seen, j, snapshots)
	return len(imageDifferences(&seen, j, image, snapshots))+len(wrong) == 0, nil
}
