// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

func (t *transfer) deregisterImage(ctx context.Context, j *stepRun, s *step.DeregisterImage) StepOutcome {
	id := j.id(s.Image)
	if s.Unless != nil {
		right, err := t.rightByNow(ctx, j, s.Unless)
		if err != nil {
			return StepOutcome{Err: err}
		}
		if right { // whoever is to have the name takes it with the image
			return StepOutcome{Notes: []distribution.Finding{{Level: distribution.Note, Location: s.Location, Resource: id, Summary: "the image " + id + " stays", Detail: "it is what was asked for: it had not been seen whole when the plan was made"}}}
		}
	}
	if !s.WithSnapshots {
		return StepOutcome{Made: id, Err: t.deregister(ctx, s.Location, id)}
	}
	left, err := t.deregisterAll(ctx, s.Location, id)
	if err != nil {
		left = append(left, distribution.RetainedResource{At: s.Location, Kind: "image", Resource: id, Why: err.Error()})
	}
	return StepOutcome{Made: id, Left: left, Err: err}
}

// rightByNow looks once more at an image that an earlier run made, before it makes way: the plan's look may have been stale, or have spanned its completion
// (4.4.1). That it is not what it has to be counts when it lasts.
func (t *transfer) rightByNow(ctx context.Context, j *stepRun, s *step.VerifyImage) (bool, error) {
	image, err := t.image(ctx, s.Location, s.Image.Known)
	if err != nil {
		return false, err
	}
	right := image != nil && image.State == ec2types.ImageStatePending // another run makes it
	if image != nil && !right {
		if right, err = t.fits(ctx, j, s, *image); err != nil {
			return false, err
		}
	}
	if !right && j.doubtful() {
		return false, retryAfter{step.Backoff(j.memo.looks)}
	}
	return right, nil
}

// fits reports an image that is what it has to be, by whatever snapshots.
func (t *transfer) fits(ctx context.Context, j *stepRun, s *step.VerifyImage, image ec2types.Image) (bool, error) {
	uses := usesOf(image)
	seen := *s
	seen.Snapshots = map[string]step.ExpectedSnapshot{}
	for device, wanted := range s.Snapshots {
		if uses[device] == "" {
			return false, nil
		}
		wanted.Snapshot = step.Ref{Known: uses[device]}
		seen.Snapshots[device] = wanted
	}
	snapshots, err := t.snapshotsOf(ctx, j, &seen)
	if err != nil {
		return false, err
	}
	_, wrong := wrongSnapshots(&seen, j, snapshots)
	return len(differencesOf(&seen, j, image, snapshots))+len(wrong) == 0, nil
}

// deregisterAll takes an image away that is ours, with its snapshots, and says which of them stayed (9.11). Those that other images use are not left over.
func (t *transfer) deregisterAll(ctx context.Context, at distribution.Location, id string) ([]distribution.RetainedResource, error) {
	out, err := t.pool.EC2(at).DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id), DeleteAssociatedSnapshots: aws.Bool(true)})
	if awsclient.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var left []distribution.RetainedResource
	for _, r := range out.DeleteSnapshotResults {
		if r.ReturnCode != ec2types.SnapshotReturnCodesSuccess && r.ReturnCode != ec2types.SnapshotReturnCodesWarnSkipped {
			left = append(left, distribution.RetainedResource{At: at, Kind: "snapshot", Resource: aws.ToString(r.SnapshotId), Why: "its image is gone; AWS says " + string(r.ReturnCode)})
		}
	}
	return left, nil
}

// deregister takes an image away that is ours. That it is gone already is what was wanted (2.5.9).
func (t *transfer) deregister(ctx context.Context, at distribution.Location, id string) error {
	_, err := t.pool.EC2(at).DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(id)})
	if awsclient.IsNotFound(err) {
		return nil
	}
	return err
}
