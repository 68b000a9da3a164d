// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// resultOf returns the result of a plan, in the order of its steps.
func resultOf(
	ctx context.Context,
	pool *awsclient.Pool,
	p plan.Plan,
	done map[distribution.StepID]StepOutcome,
) distribution.Result {
	var r distribution.Result
	source := sourceAccount(p.Steps)
	removed, permanent, verified := map[string]bool{}, map[string]bool{}, map[distribution.Location]bool{}
	isUnverified := map[distribution.Location]bool{}
	for _, s := range p.Steps {
		if step.IsVerification(s) && done[s.Meta().ID].Err != nil {
			isUnverified[s.Meta().Destination] = true
		}
	}

	sizes := map[string]int64{} // of copies, by snapshot ID
	isExpiryReported := false   // expired source credentials are reported
	for _, s := range p.Steps {
		d := done[s.Meta().ID]
		result := distribution.StepResult{
			Step:    s.Meta().ID,
			At:      s.Meta().Location,
			Begun:   d.Begun,
			Ended:   d.Ended,
			Made:    d.ID,
			Skipped: errors.Is(d.Err, errSkipped),
			Failure: explain(ctx, pool, source, s, d.Err),
		}

		r.Steps = append(r.Steps, result)
		switch {
		case result.Failure == nil, isExpiryReported && isSourceExpired(s, source, d.Err):
		case isSourceExpired(s, source, d.Err):
			isExpiryReported = true
			r.Findings = append(r.Findings, sourceCredentialsExpired(*result.Failure, s))
		default:
			r.Findings = append(r.Findings, *result.Failure)
		}

		r.Findings = append(r.Findings, d.Notes...)
		r.Left = append(r.Left, d.Retained...)
		if s, is := s.(*step.CopySnapshot); is {
			sizes[d.ID] = s.GiB
			if d.Snapshot != nil { // the failed copy before a repeat
				sizes[aws.ToString(d.Snapshot.SnapshotId)] = s.GiB
			}
		}

		switch s := s.(type) {
		case *step.VerifyImage:
			verified[s.Location] = d.Err == nil
			switch {
			case d.Err != nil:
			case isUnverified[s.Location]:
				r.Left = append(
					r.Left,
					distribution.RetainedResource{At: s.Location, Kind: "image", Resource: d.ID, Why: distribution.KeptRegistered},
				)
			default:
				image, registered := createdImage(p, s, d), done[s.Image.From]
				image.Earlier = s.Image.From == "" || registered.Adopted
				r.Images = append(r.Images, image)
			}
		case *step.CreateGrant:
			if d.Err == nil && s.Lasting {
				granted := s.Granted()
				granted.GrantID = d.ID
				r.Grants = append(r.Grants, granted)
			}
		case *step.PublishBarrier:
			if d.Err != nil {
				r.Findings = append(r.Findings, distribution.Finding{
					Level:       distribution.Note,
					Code:        distribution.CodeNothingPublished,
					Field:       "publish",
					Summary:     "nothing was published",
					Detail:      `publish = "all", and not every required destination has a proved image`,
					Remediation: "resume the run: it keeps what is completed",
				})
			}
		case *step.ShareImage:
			if s.Lasting && d.Err == nil {
				permanent[d.ID] = true
				r.Shares = append(r.Shares, distribution.Shared{At: s.Location, ImageID: d.ID, With: s.With})
			}
		case *step.DeleteSnapshot:
			removed[d.ID] = d.Err == nil
		case *step.DeregisterImage:
			removed[d.ID] = d.Err == nil
		}
	}

	for _, s := range p.Shares {
		if s.Shared != "" {
			r.Shares = append(r.Shares, distribution.Shared{At: s.At, ImageID: s.Shared, With: s.With})
		}
	}

	for _, s := range p.Steps {
		if pointer, is := plan.PointerOf(s); is && done[s.Meta().ID].Err == nil {
			markPointerSet(r.Images, s.Meta().Location, pointer)
		}
		if left, is := retainedBy(s, done[s.Meta().ID], verified, removed, permanent); is {
			r.Left = append(r.Left, left)
		}
	}

	r.Left = distinctResources(r.Left)
	for i, left := range r.Left {
		if left.Kind == "snapshot" && left.GiB == 0 {
			r.Left[i].GiB = sizes[left.Resource]
		}
	}

	r.LeftUSD = distribution.USDPerMonth(r.Left)
	return r
}

// isSourceExpired reports whether a step failed because the source credentials have expired (rule 5.4). The step
// uses them, or a target's role is assumed with them.
func isSourceExpired(s step.Step, source string, err error) bool {
	if !awsclient.HasEnded(err) {
		return false
	}
	base, refusal := s.Meta(), awsclient.Refused("", err)
	return source == "" && base.Destination == (distribution.Location{}) || base.Location.Account == source ||
		refusal.Operation == "sts:AssumeRole"
}

// distinctResources removes duplicates. Several steps may have failed to delete the same resource.
func distinctResources(resources []distribution.RetainedResource) []distribution.RetainedResource {
	type key struct {
		at             distribution.Location
		kind, resource string
	}
	seen := map[key]bool{}
	return slices.DeleteFunc(resources, func(l distribution.RetainedResource) bool {
		k := key{l.At, l.Kind, l.Resource}
		isDuplicate := seen[k]
		seen[k] = true
		return isDuplicate
	})
}

// sourceCredentialsExpired returns one finding for all steps that failed for this reason.
func sourceCredentialsExpired(f distribution.Finding, first step.Step) distribution.Finding {
	f.Reference, f.Summary, f.Resource = "5.4", "the source credentials have ended", ""
	f.Detail = "from here on nothing could be done with them, first: " + first.String() + "; " + f.Detail
	f.Remediation = "renew the credentials that the run began with and resume the run: it keeps what is completed"
	return f
}

// sourceAccount returns the owner of the source image. Empty if no step names it.
func sourceAccount(steps []step.Step) string {
	for _, s := range steps {
		if v, is := s.(*step.VerifyImage); is {
			return aws.ToString(v.Source.OwnerId)
		}
		if share, is := s.(*step.ShareImage); is {
			return share.Location.Account
		}
	}
	return ""
}

func createdImage(p plan.Plan, s *step.VerifyImage, d StepOutcome) distribution.CreatedImage {
	image := distribution.CreatedImage{At: s.Location, Target: s.Target, ImageID: d.ID, Name: s.Name}
	if i := slices.IndexFunc(p.Destinations, func(d plan.DestinationPlan) bool { return d.At == s.Location }); i >= 0 {
		image.Carried, image.Pointers = p.Destinations[i].Carried, slices.Clone(p.Destinations[i].Pointers)
	}

	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		wanted := s.Snapshots[device]
		image.Snapshots = append(
			image.Snapshots,
			distribution.CreatedSnapshot{
				Device:     device,
				SnapshotID: d.SnapshotIDs[device],
				KeyARN:     wanted.KeyARN,
				GiB:        int32(wanted.GiB),
			},
		)
	}

	return image
}

// markPointerSet marks a parameter or launch template as set for the image of a destination.
func markPointerSet(images []distribution.CreatedImage, at distribution.Location, pointer distribution.Pointer) {
	for _, image := range images {
		for i, p := range image.Pointers {
			if image.At == at && p.Kind == pointer.Kind && p.Name == pointer.Name {
				image.Pointers[i].Set = true
			}
		}
	}
}

// retainedBy returns the resource that a step created and no image of this run uses. The next run reuses or deletes
// it.
func retainedBy(
	s step.Step,
	d StepOutcome,
	verified map[distribution.Location]bool,
	removed, permanent map[string]bool,
) (distribution.RetainedResource, bool) {
	left := distribution.RetainedResource{At: s.Meta().Location, Resource: d.ID}
	if errors.Is(d.Err, errSkipped) {
		return notRemovedBy(s)
	}

	if d.ID == "" {
		return left, false
	}

	switch s := s.(type) {
	case *step.CreateEmptySnapshot:
		left.Kind, left.Why = "snapshot", "the source of the test copies; the next run deletes it"
		return left, !removed[d.ID]
	case *step.CopySnapshot:
		left.Kind, left.Why = "snapshot", distribution.KeptCompleted
		if d.Err != nil {
			left.Why = distribution.KeptPending
		}
		if s.Destination == (distribution.Location{}) || s.Trial {
			return left, !removed[d.ID]
		}
		return left, !verified[s.Destination]
	case *step.CopyImage:
		left.Kind, left.Why = "image", distribution.KeptCompleted
		if d.Err != nil {
			left.Why = distribution.KeptPending
		}
		if s.Destination == (distribution.Location{}) {
			return left, !removed[d.ID] && !permanent[d.ID]
		}
		return left, !verified[s.Destination] && !removed[d.ID]
	case *step.RegisterImage:
		left.Kind, left.Why = "image", "registered, but not verified"
		return left, !verified[s.Location]
	}

	return left, false
}

// notRemovedBy returns the resource of an earlier run that a skipped step should have deleted.
func notRemovedBy(s step.Step) (distribution.RetainedResource, bool) {
	left := distribution.RetainedResource{
		At:  s.Meta().Location,
		Why: "of an earlier run; the next run continues with it or deletes it",
	}
	switch s := s.(type) {
	case *step.DeleteSnapshot:
		left.Kind, left.Resource = "snapshot", s.Snapshot.Known
	case *step.DeregisterImage:
		if s.Name == "" { // an image that is replaced by name does not count as retained
			left.Kind, left.Resource = "image", s.Image.Known
		}
	}

	return left, left.Resource != ""
}

// explain returns the finding for a failed step. Nil if the step succeeded or never started.
func explain(ctx context.Context, pool *awsclient.Pool, source string, s step.Step, err error) *distribution.Finding {
	if err == nil || errors.Is(err, errSkipped) {
		return nil
	}

	refusal, isAWS := refusalOf(err)
	if failed := (*verificationError)(nil); errors.As(err, &failed) {
		return failed.finding(s)
	}

	if !isAWS { // the error did not come from AWS
		return &distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeStepFailed,
			Location:    s.Meta().Location,
			Resource:    s.ResourceID(),
			Summary:     "could not " + s.String(),
			Detail:      err.Error(),
			Remediation: "resume the run: it keeps what is completed",
		}
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), gracePeriod)
	defer cancel()
	caller, _ := pool.Identity(ctx, s.Meta().Location) // usually cached. Without it the finding is less exact
	f := diagnose.Explain(
		diagnose.Case{Refusal: refusal, Step: s, Principal: caller.ARN, Resource: s.ResourceID(), SourceAccount: source},
	)
	return &f
}

// refusalOf returns the AWS error in an error. False if there is none.
func refusalOf(err error) (distribution.APIError, bool) {
	var failed *copyFailed
	if errors.As(err, &failed) {
		return distribution.APIError{Operation: failed.operation, Message: failed.text}, true
	}
	var ended *launchFailed
	if errors.As(err, &ended) {
		return distribution.APIError{Operation: "ec2:RunInstances", Code: ended.code, Message: ended.text}, true
	}
	operation := awsclient.Operation(err)
	return *awsclient.Refused(operation, err), operation != "" || awsclient.Code(err) != ""
}

// reason returns an error as one line. For an AWS error it is the code and the message without the SDK's additions.
func reason(err error) string {
	refusal, isAWS := refusalOf(err)
	if !isAWS {
		return err.Error()
	}
	return strings.TrimPrefix(refusal.Code+": "+refusal.Message, ": ")
}
