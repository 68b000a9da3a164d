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

// copyImage starts a copy and has it watched. Its client token makes a repeated call safe (rule 4.2.3,
// idempotency). A copy that failed due to eventual consistency is repeated with another token.
func (t *executor) copyImage(ctx context.Context, j *stepRun, s *step.CopyImage, end func(StepOutcome)) {
	if failed := j.state.failedCopy; failed != nil {
		_, id := failed.resource()
		j.state.retained = append(j.state.retained, t.deregisterWithSnapshots(ctx, s, id)...)
		j.state.failedCopy = nil
		if j.state.failure != nil {
			end(StepOutcome{Err: j.state.failure})
		} else {
			end(StepOutcome{Err: retryAfter{}}) // creates another copy if its destination still needs one
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
		end: func(status *copyStatus, err error) {
			endOnPanic(end, func() {
				d := t.handleCopyEnd(j, id, status, err)
				d.Adopted, d.Unsigned = j.state.adopted || id == s.ResumeID, j.state.isSigningDenied
				end(d)
			})
		},
	})
}

// startImageCopy finds or starts the copy. It may be a copy of an earlier run, of this step, or of another run
// under the same name.
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

	if len(j.state.discardedIDs) > 0 { // another run may have succeeded and revoked its shares since
		if _, err := t.adoptNamesake(ctx, j, s); err != nil || j.state.adopted {
			return err
		}
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	output, err := t.pool.EC2(s.Location).
		CopyImage(graceCtx, copyImageInput(s, j.id(s.Image), len(j.state.discardedIDs)+1))
	switch {
	case err == nil:
		j.state.resourceID = aws.ToString(output.ImageId)
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
	// AWS may not see a new share yet (rule 4.4.2)
	if (awsclient.IsNotFound(err) || diagnose.IsEventualConsistency(refusal)) && j.keepPolling() {
		t.reportRetry(j, reason(err), time.Now().Add(step.EventualConsistencyTimeout))
		return retryAfter{step.Backoff(j.state.polls)}
	}

	return err
}

// copyImageInput returns the call. It always encrypts with an explicit key (rules 1.4.10 and 1.4.11) and sets our
// tags on creation. CopyImageTags is off because the plan has already chosen which tags to copy.
func copyImageInput(s *step.CopyImage, image string, try int) *ec2.CopyImageInput {
	in := &ec2.CopyImageInput{
		Name:          aws.String(s.Name),
		SourceImageId: aws.String(image),
		SourceRegion:  aws.String(s.FromRegion),
		ClientToken:   aws.String(string(s.Signing.Token(fmt.Sprintf("%s %d", s.ID, try)))),
		CopyImageTags: aws.Bool(false),
		Encrypted:     aws.Bool(true),
		KmsKeyId:      aws.String(s.KeyARN),
		TagSpecifications: append(
			tagSpecifications(ec2types.ResourceTypeImage, s.Tags),
			tagSpecifications(ec2types.ResourceTypeSnapshot, s.SnapshotTags)...),
	}

	if s.Minutes > 0 {
		in.SnapshotCopyCompletionDurationMinutes = aws.Int64(int64(s.Minutes))
	}

	if s.Description != "" { // AWS refuses an empty one (rule 2.2.10)
		in.Description = aws.String(s.Description)
	}

	return in
}

func (t *executor) dryRunCopyImage(s *step.CopyImage) dryRun {
	in := copyImageInput(s, knownOr(s.Image, step.StandInImage), 1)
	in.DryRun = aws.Bool(true)
	return newDryRun(t.pool.EC2(s.Location).CopyImage, in, s, "ec2:CopyImage")
}

// handleNameTaken adopts the image that has the name, if another run creates it. It waits for one without a
// signature to be signed, and for a failed one to be deregistered.
func (t *executor) handleNameTaken(ctx context.Context, j *stepRun, s *step.CopyImage, taken error) error {
	exists, err := t.adoptNamesake(ctx, j, s)
	switch {
	case err != nil || j.state.adopted:
		return err
	case exists && j.keepPolling():
		return retryAfter{step.Backoff(j.state.polls)}
	}
	return taken
}

// adoptNamesake adopts the image with the wanted name if its signature proves that a run creates it and it has not
// failed. exists reports whether such an image exists, even if it is not signed yet.
func (t *executor) adoptNamesake(ctx context.Context, j *stepRun, s *step.CopyImage) (exists bool, err error) {
	image, isSigned, err := t.namesake(ctx, s.ImageSpec)
	if err != nil || image == nil {
		return false, err
	}
	if id := aws.ToString(image.ImageId); isSigned && !slices.Contains(j.state.discardedIDs, id) {
		j.state.resourceID, j.state.adopted, j.state.isSigned = id, true, true
	}
	return true, nil
}

// imageReader returns a function that reads the image of an earlier run.
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

// resumeEarlier adopts the resource that an earlier run created. If it returns nil and the state has no resource
// ID, the step creates its own.
func (t *executor) resumeEarlier(
	ctx context.Context, j *stepRun, signing step.Signing, read func() (*provenance.Resource, error),
) error {
	if j.state.resourceID != "" || len(j.state.discardedIDs) > 0 || j.base.ResumeID == "" {
		return nil
	}

	err := t.adopt(ctx, j, signing, j.base.ResumeID, read)
	notAdoptable := notAdoptableError{}
	switch {
	case errors.As(err, &notAdoptable) && !j.base.NotRepeatable:
		j.state.discardCopy(j.base.ResumeID)
		return nil
	case err != nil:
		return err
	}

	j.state.resourceID = j.base.ResumeID
	return nil
}

// deregisterWithSnapshots deregisters an image with its snapshots. It returns what could not be deleted.
func (t *executor) deregisterWithSnapshots(
	ctx context.Context,
	s *step.CopyImage,
	id string,
) []distribution.RetainedResource {
	retained, err := t.deregister(ctx, imageDeletion{at: s.Location, id: id, release: s.Signing.Statement.Release}, true)
	if err != nil {
		return []distribution.RetainedResource{{At: s.Location, Kind: "image", Resource: id, Why: reason(err)}}
	}
	return retained
}
