// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// copyImage makes a copy and has it watched. Its token makes it safe to ask again (4.2.3); a copy that failed only because AWS had not yet
// seen what it depends on is made again, under another token.
func (t *executor) copyImage(ctx context.Context, j *stepRun, s *step.CopyImage, end func(StepOutcome)) {
	if broken := j.state.failedCopy; broken != nil {
		_, id := broken.resource()
		j.state.retained = append(j.state.retained, t.deregisterWithSnapshots(ctx, s, id)...)
		j.state.failedCopy = nil
		if j.state.failure != nil {
			end(StepOutcome{Err: j.state.failure})
		} else {
			end(StepOutcome{Err: retryAfter{}}) // to be made again, if it is still wanted
		}
		return
	}
	err := t.startImageCopy(ctx, j, s)
	if err == nil && !j.state.adopted {
		err = t.sign(ctx, j, s.Signing)
	}
	if err != nil {
		end(StepOutcome{Err: err})
		return
	}
	id := j.state.resourceID
	t.watcher.watch(copyGroup{s.Location, true}, &watchedCopy{
		id: id, step: s.ID, destination: s.Destination, expectedDuration: s.ExpectedDuration, gib: s.GiB,
		end: func(seen *copyStatus, err error) {
			endOnPanic(end, func() {
				d := t.handleCopyEnd(j, id, seen, err)
				d.Adopted, d.Unsigned = j.state.adopted || id == s.ResumeID, j.state.isSigningDenied
				end(d)
			})
		},
	})
}

// beginImage sees to it that there is a copy on its way: an earlier run's, one of this step, or another run's under the same name.
func (t *executor) startImageCopy(ctx context.Context, j *stepRun, s *step.CopyImage) error {
	if err := t.resumeEarlier(ctx, j, s.Signing, t.imageReader(ctx, s)); err != nil || j.state.resourceID != "" {
		return err
	}
	if err := guardCopy(j, s.Image, s.KeyARN); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if len(j.state.discardedIDs) > 0 { // another run may have been quicker, and have taken back what it shared
		if _, err := t.adoptNamesake(ctx, j, s); err != nil || j.state.adopted {
			return err
		}
	}
	lasting, release := withGracePeriod(ctx)
	defer release()
	made, err := t.pool.EC2(s.Location).CopyImage(lasting, copyImageInput(s, j.id(s.Image), len(j.state.discardedIDs)+1))
	switch {
	case err == nil:
		j.state.resourceID = aws.ToString(made.ImageId)
		t.recordCreatedID(j.state.resourceID)
		return nil
	case awsclient.IsResourceLimit(err):
		return quotaExceeded{limitOf(err), err}
	case awsclient.IsNameTaken(err):
		return t.handleNameTaken(ctx, j, s, err)
	case awsclient.IsOutcomeUnknown(err):
		j.state.polls++
		return retryAfter{step.Backoff(j.state.polls)}
	}
	refusal, _ := refusalOf(err)
	if (awsclient.IsNotFound(err) || diagnose.IsEventualConsistency(refusal)) && j.keepPolling() { // a share that AWS has not seen yet (4.4.2)
		t.reportRetry(j, reason(err), time.Now().Add(step.EventualConsistencyTimeout))
		return retryAfter{step.Backoff(j.state.polls)}
	}
	return err
}

// imageCopy is the call: always encrypted, under an explicit key (1.4.10, 1.4.11), with our tags from birth, and with none of the source's own that AWS
// would add: the plan has chosen them.
func copyImageInput(s *step.CopyImage, image string, try int) *ec2.CopyImageInput {
	in := &ec2.CopyImageInput{
		Name:              aws.String(s.Name),
		SourceImageId:     aws.String(image),
		SourceRegion:      aws.String(s.FromRegion),
		ClientToken:       aws.String(string(s.Signing.Token(fmt.Sprintf("%s %d", s.ID, try)))),
		CopyImageTags:     aws.Bool(false),
		Encrypted:         aws.Bool(true),
		KmsKeyId:          aws.String(s.KeyARN),
		TagSpecifications: append(tagSpecifications(ec2types.ResourceTypeImage, s.Tags), tagSpecifications(ec2types.ResourceTypeSnapshot, s.SnapshotTags)...),
	}
	if s.Minutes > 0 {
		in.SnapshotCopyCompletionDurationMinutes = aws.Int64(int64(s.Minutes))
	}
	if s.Description != "" { // an empty one is no description (2.2.10)
		in.Description = aws.String(s.Description)
	}
	return in
}

func (t *executor) dryRunCopyImage(s *step.CopyImage) dryRun {
	in := copyImageInput(s, knownOr(s.Image, step.StandInImage), 1)
	in.DryRun = aws.Bool(true)
	return newDryRun(t.pool.EC2(s.Location).CopyImage, in, s, "ec2:CopyImage")
}

// sharedName takes the image that has the name already for this step's, if another run is making it. One without a
// signature yet is given the time for it, and one that failed the time to go.
func (t *executor) handleNameTaken(ctx context.Context, j *stepRun, s *step.CopyImage, taken error) error {
	ours, err := t.adoptNamesake(ctx, j, s)
	switch {
	case err != nil || j.state.adopted:
		return err
	case ours && j.keepPolling():
		return retryAfter{step.Backoff(j.state.polls)}
	}
	return taken
}

// adoptNamesake takes an image of the wanted name for this step's, if its signature proves that a run makes it and it has
// not failed. ours: an image has the name, and may become one.
func (t *executor) adoptNamesake(ctx context.Context, j *stepRun, s *step.CopyImage) (ours bool, err error) {
	image, isSigned, err := t.namesake(ctx, s.ImageSpec)
	if err != nil || image == nil {
		return false, err
	}
	if id := aws.ToString(image.ImageId); isSigned && !slices.Contains(j.state.discardedIDs, id) {
		j.state.resourceID, j.state.adopted, j.state.isSigned = id, true, true
	}
	return true, nil
}

// imageLook returns what reads the image of an earlier run that a step resumes.
func (t *executor) imageReader(ctx context.Context, s *step.CopyImage) func() (*provenance.Resource, error) {
	return func() (*provenance.Resource, error) {
		image, err := t.image(ctx, s.Location, s.ResumeID)
		if err != nil || image == nil {
			return nil, err
		}
		resource := distribution.ImageResource(s.Location, *image, nil, provenance.Expected{})
		return &resource, nil
	}
}

// resume adopts what an earlier run created. Without an error and without an id in the memo, the step creates its own.
func (t *executor) resumeEarlier(
	ctx context.Context, j *stepRun, signing step.Signing, look func() (*provenance.Resource, error),
) error {
	if j.state.resourceID != "" || len(j.state.discardedIDs) > 0 || j.base.ResumeID == "" {
		return nil
	}
	err := t.adopt(ctx, j, signing, j.base.ResumeID, look)
	refused := notAdoptableError{}
	switch {
	case errors.As(err, &refused) && !j.base.NotRepeatable:
		j.state.discardCopy(j.base.ResumeID)
		return nil
	case err != nil:
		return err
	}
	j.state.resourceID = j.base.ResumeID
	return nil
}

// deregisterWithSnapshots removes an image of a step with its snapshots, and returns what stayed.
func (t *executor) deregisterWithSnapshots(ctx context.Context, s *step.CopyImage, id string) []distribution.RetainedResource {
	left, err := t.deregister(ctx, imageDeletion{at: s.Location, id: id, release: s.Signing.Statement.Release}, true)
	if err != nil {
		return []distribution.RetainedResource{{At: s.Location, Kind: "image", Resource: id, Why: reason(err)}}
	}
	return left
}
