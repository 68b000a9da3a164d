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
		isUnneeded, err := t.isReplacementUnneeded(ctx, j, s.Unless)
		if err != nil {
			return StepOutcome{Err: err}
		}

		if isUnneeded { // no step needs the name then, because the image is reused
			return StepOutcome{
				Notes: []distribution.Finding{
					{
						Level:    distribution.Note,
						Code:     distribution.CodeAMIKept,
						Location: s.Location,
						Resource: id,
						Summary:  "the image " + id + " stays",
						Detail:   "it is what was asked for: it had not been seen whole when the plan was made",
					},
				},
			}
		}
	}

	left, err := t.deregister(ctx, imageDeletion{
		at:         s.Location,
		id:         id,
		expected:   s.Expected,
		release:    s.Release,
		isReplaced: s.Name != "",
	}, s.WithSnapshots)

	if errors.Is(err, errNotShown) && j.keepPolling() { // created moments ago (rule 4.4.1, eventual consistency)
		return StepOutcome{Err: retryAfter{step.Backoff(j.state.polls)}}
	}

	if err != nil {
		left = append(left, distribution.RetainedResource{At: s.Location, Kind: "image", Resource: id, Why: reason(err)})
	}

	return StepOutcome{ID: id, Retained: left, Err: err}
}

// isReplacementUnneeded reads an image of an earlier run again before it is deregistered. The plan may have read it
// stale or before it was complete (rule 4.4.1). A difference counts only if it lasts.
func (t *executor) isReplacementUnneeded(ctx context.Context, j *stepRun, s *step.VerifyImage) (bool, error) {
	image, err := t.image(ctx, s.Location, s.Image.Known)
	if err != nil {
		return false, err
	}

	isUnneeded := image != nil && image.State == ec2types.ImageStatePending // another run is creating it
	if image != nil && !isUnneeded {
		if isUnneeded, err = t.isAsSpecified(ctx, j, s, *image); err != nil {
			return false, err
		}
	}

	if !isUnneeded && j.keepRechecking() {
		return false, retryAfter{step.Backoff(j.state.polls)}
	}

	return isUnneeded, nil
}

// isAsSpecified reports whether an image is as requested, whatever snapshots it uses.
func (t *executor) isAsSpecified(
	ctx context.Context,
	j *stepRun,
	s *step.VerifyImage,
	image ec2types.Image,
) (bool, error) {
	snapshotIDs := snapshotsByDevice(image)
	verify := *s
	verify.Snapshots = map[string]step.ExpectedSnapshot{}
	for device, wanted := range s.Snapshots {
		if snapshotIDs[device] == "" {
			return false, nil
		}
		wanted.Snapshot = step.Ref{Known: snapshotIDs[device]}
		verify.Snapshots[device] = wanted
	}

	snapshots, err := t.verifiedSnapshots(ctx, j, &verify)
	if err != nil {
		return false, err
	}

	_, differences := findWrongSnapshots(&verify, j, snapshots)
	return len(imageDifferences(&verify, j, image))+len(differences) == 0, nil
}
