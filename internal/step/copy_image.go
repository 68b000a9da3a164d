// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

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
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// CopyImage copies an image with its snapshots, encrypted under one key (rules 1.4.6 and 2.4). It ends when the
// copy is available. DeregisterImage reverts it.
type CopyImage struct {
	Base
	ImageSpec
	Image        Ref // source image
	FromRegion   string
	FromKeyARNs  []string // keys of the source snapshots, sorted, without snapshots that steps create
	KeyARN       string   // in the Region of the copy
	Devices      []string // with snapshots, sorted
	GiB          int64
	Minutes      int               // paid completion duration. Zero for a copy without one (rule 4.8)
	SnapshotTags map[string]string // set by the creating call
}

// Permissions include the source image and the snapshots of both images (rule 2.4.3). The KMS permissions are the
// documented set (rules 3.1.2 to 3.1.4 and 3.1.10).
func (s *CopyImage) Permissions() []Permission {
	from := distribution.Location{Region: s.FromRegion}
	permissions := []Permission{
		{"ec2:CopyImage", s.Location.ImageARN("*"), "2.4.3"},
		{"ec2:CopyImage", s.Location.SnapshotARN("*"), "2.4.3"},
		{"ec2:CopyImage", from.ImageARN(s.Image.Known), "2.4.3"},
		{"ec2:CopyImage", from.SnapshotARN("*"), "2.4.3"},
		{"ec2:CreateTags", s.Location.ImageARN("*"), "2.4.3"},
		{"ec2:CreateTags", s.Location.SnapshotARN("*"), "2.4.3"},
		{"ec2:DescribeImages", "*", "4.2.2"},
		{"ec2:DescribeSnapshots", "*", "4.6.3"},
		{"kms:DescribeKey", s.KeyARN, "3.1.4"},
		{"kms:CreateGrant", s.KeyARN, "3.1.4"},
		{"kms:GenerateDataKeyWithoutPlaintext", s.KeyARN, "3.1.4"},
	}

	for _, key := range s.FromKeyARNs {
		for _, action := range []string{"kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt", "kms:ReEncryptFrom"} {
			permissions = append(permissions, Permission{action, key, "3.1.3"})
		}
	}

	return permissions
}

func (s *CopyImage) Copies() CopyInfo {
	return CopyInfo{
		Source:     s.Image,
		FromRegion: s.FromRegion,
		IsImage:    true,
		Volumes:    len(s.Devices),
		GiB:        s.GiB,
		Minutes:    s.Minutes,
	}
}

func (s *CopyImage) ResourceID() string { return s.Image.Known }

func (s *CopyImage) String() string {
	if s.ResumeID != "" {
		return fmt.Sprintf("wait for %s (%d GiB), begun by an earlier run, in %s", s.ResumeID, s.GiB, s.Location)
	}

	from, volumes := "", distribution.Count(len(s.Devices), "volume", "volumes")
	if s.FromRegion != s.Location.Region {
		from = " from " + s.FromRegion
	}

	if s.Destination == (distribution.Location{}) {
		return fmt.Sprintf("stage %s, %d GiB in %s%s in %s", s.Image.stagedImage(), s.GiB, volumes, from, s.Location)
	}

	return fmt.Sprintf(
		"copy %s, %d GiB in %s%s to %s%s",
		s.Image.stagedImage(),
		s.GiB,
		volumes,
		from,
		s.Location,
		within(s.Minutes),
	)
}

func (s *CopyImage) Doing(w Words) string {
	where := w.WhereTo(s.Destination, s.Location)
	if s.ResumeID != "" {
		return s.resuming(fmt.Sprintf("%s (%d GiB)", s.ResumeID, s.GiB), where)
	}
	if s.Destination == (distribution.Location{}) {
		where += " with " + w.Key(s.KeyARN)
	}
	return fmt.Sprintf("Copying %s (%d GiB)%s %s", w.Image(s.Image), s.GiB, fromRegion(s.FromRegion, s.Location), where)
}

func (s *CopyImage) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "copy the AMI"}, KeyARN: s.KeyARN}
}

func (s *CopyImage) Result(o Outcome) Result {
	created := newCreatedResource(&s.Base, "image", o, keptCopy(o.Err), s.Destination)
	if created != nil {
		created.GiB = s.GiB // of its snapshots, which are not listed
	}
	return Result{Created: created}
}

var _ = register(&CopyImage{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*CopyImage).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*CopyImage).dryRuns(env) },
})

func (s *CopyImage) start(env Env) Attempt { return newAttempt(s, env, env.copyImage) }

func (s *CopyImage) dryRuns(env Env) []DryRun {
	in := copyImageInput(s, imageOrStandIn(s.Image), 1)
	in.DryRun = aws.Bool(true)
	d := newDryRun(s, "ec2:CopyImage", env.Clients.EC2(s.Location).CopyImage, in)
	return append([]DryRun{d}, keyUseDryRuns(s, env, append([]string{s.KeyARN}, s.FromKeyARNs...)...)...)
}

// copyImage starts a copy and has it watched. Its client token makes a repeated call safe (rule 4.2.3,
// idempotency). A copy that failed due to eventual consistency is repeated with another token.
func (r *Run) copyImage(ctx context.Context, a *attempt, s *CopyImage) (Outcome, error) {
	if failed := a.failedCopy; failed != nil {
		_, id := failed.resource()
		a.retained = append(a.retained, r.deregisterWithSnapshots(ctx, s, id)...)
		a.failedCopy = nil
		return Outcome{}, a.repeatOrFail()
	}

	err := r.startImageCopy(ctx, a, s)
	if err == nil && !a.adopted {
		err = r.sign(ctx, a, s.Signing)
	}

	if err != nil {
		return Outcome{}, err
	}

	id := a.resourceID
	return Outcome{}, &CopyInProgress{
		Group:       CopyGroup{Location: s.Location, Images: true},
		ID:          id,
		Destination: s.Destination,
		GiB:         s.GiB,
		Ended: func(status *CopyStatus, err error) (Outcome, error) {
			outcome, err := r.handleCopyEnd(a, id, status, err)
			outcome.Adopted, outcome.Unsigned = a.adopted || id == s.ResumeID, a.isSigningDenied
			return outcome, err
		},
	}
}

// startImageCopy finds or starts the copy. It may be a copy of an earlier run, of this step, or of another run
// under the same name.
func (r *Run) startImageCopy(ctx context.Context, a *attempt, s *CopyImage) error {
	if err := r.resumeEarlier(ctx, a, s.Signing, r.imageReader(ctx, s)); err != nil || a.resourceID != "" {
		return err
	}

	if err := guardCopy(a, s.Image, s.KeyARN); err != nil {
		return err
	}

	if err := context.Cause(ctx); err != nil {
		return err
	}

	if len(a.discardedIDs) > 0 { // another run may have succeeded and revoked its shares since
		if _, err := r.adoptNamesake(ctx, a, s); err != nil || a.adopted {
			return err
		}
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	output, err := r.Clients.EC2(s.Location).
		CopyImage(graceCtx, copyImageInput(s, a.id(s.Image), len(a.discardedIDs)+1))
	switch {
	case err == nil:
		a.resourceID = aws.ToString(output.ImageId)
		r.recordCreatedID(a.resourceID)
		return nil
	case awsclient.IsResourceLimit(err):
		return newQuotaExceeded(err)
	case awsclient.IsNameTaken(err):
		return r.handleNameTaken(ctx, a, s, err)
	case awsclient.IsUnanswered(err):
		a.retained = append(a.retained, r.unansweredCopy(ctx, s)...)
		return err
	case awsclient.IsOutcomeUnknown(err):
		a.polls++
		return RetryAfter{Backoff(a.polls)}
	}

	if r.isShareNotVisible(err) && a.keepPolling() {
		r.reportRetry(a, err, time.Now().Add(EventualConsistencyTimeout))
		return RetryAfter{Backoff(a.polls)}
	}

	return err
}

// unansweredCopy returns the image that has the name of a copy whose creating call had no usable response. The call may
// have created it.
func (r *Run) unansweredCopy(ctx context.Context, s *CopyImage) []distribution.RetainedResource {
	image, isSigned, err := r.namesake(ctx, s.ImageSpec)
	if err != nil || image == nil || isSigned {
		return nil
	}
	return []distribution.RetainedResource{{
		At:       s.Location,
		Kind:     "image",
		Resource: aws.ToString(image.ImageId),
		GiB:      s.GiB,
		Why:      "it has the name of the copy, and the response of CopyImage did not name what it created",
	}}
}

// isShareNotVisible reports whether a copy may have failed because AWS does not see a new share yet (rule 4.4.2).
func (r *Run) isShareNotVisible(err error) bool {
	refusal, _ := Refusal(err)
	return awsclient.IsNotFound(err) || r.IsEventualConsistency(refusal)
}

// copyImageInput returns the input of CopyImage. It always encrypts with an explicit key (rules 1.4.10 and 1.4.11) and
// sets our tags on creation. CopyImageTags is off because the plan has already chosen which tags to copy.
func copyImageInput(s *CopyImage, image string, try int) *ec2.CopyImageInput {
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

// handleNameTaken adopts the image that has the name, if another run creates it. It waits for one without a
// signature to be signed, and for a failed one to be deregistered.
func (r *Run) handleNameTaken(ctx context.Context, a *attempt, s *CopyImage, taken error) error {
	exists, err := r.adoptNamesake(ctx, a, s)
	switch {
	case err != nil || a.adopted:
		return err
	case exists && a.keepPolling():
		return RetryAfter{Backoff(a.polls)}
	}
	return taken
}

// adoptNamesake adopts the image with the wanted name if its signature proves that a run creates it and it has not
// failed. exists reports whether such an image exists, even if it is not signed yet.
func (r *Run) adoptNamesake(ctx context.Context, a *attempt, s *CopyImage) (exists bool, err error) {
	image, isSigned, err := r.namesake(ctx, s.ImageSpec)
	if err != nil || image == nil {
		return false, err
	}
	if id := aws.ToString(image.ImageId); isSigned && !slices.Contains(a.discardedIDs, id) {
		a.resourceID, a.adopted, a.isSigned = id, true, true
	}
	return true, nil
}

// imageReader returns a function that reads the image of an earlier run.
func (r *Run) imageReader(ctx context.Context, s *CopyImage) func() (*provenance.Resource, error) {
	return func() (*provenance.Resource, error) {
		image, err := DescribeImage(ctx, r.Clients.EC2(s.Location), s.ResumeID)
		if err != nil || image == nil {
			return nil, err
		}
		resource := distribution.ImageResource(s.Location, *image, nil, provenance.Expected{})
		return &resource, nil
	}
}

// resumeEarlier adopts the resource that an earlier run created. If it returns nil and the state has no resource
// ID, the step creates its own.
func (r *Run) resumeEarlier(
	ctx context.Context, a *attempt, signing Signing, read func() (*provenance.Resource, error),
) error {
	if a.resourceID != "" || len(a.discardedIDs) > 0 || a.base.ResumeID == "" {
		return nil
	}

	err := r.adopt(ctx, a, signing, a.base.ResumeID, read)
	notAdoptable := notAdoptableError{}
	switch {
	case errors.As(err, &notAdoptable) && !a.base.NotRepeatable:
		a.discardCopy(a.base.ResumeID)
		return nil
	case err != nil:
		return err
	}

	a.resourceID = a.base.ResumeID
	return nil
}

// deregisterWithSnapshots deregisters an image with its snapshots. It returns what could not be deleted.
func (r *Run) deregisterWithSnapshots(
	ctx context.Context,
	s *CopyImage,
	id string,
) []distribution.RetainedResource {
	retained, err := r.deregister(ctx, imageDeletion{
		at:            s.Location,
		id:            id,
		release:       s.Signing.Statement.Release,
		withSnapshots: true,
	})
	if err != nil {
		return []distribution.RetainedResource{{At: s.Location, Kind: "image", Resource: id, Why: Reason(err)}}
	}
	return retained
}
