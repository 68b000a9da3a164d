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

// resultOf says what came of a plan, in the order of its steps.
func resultOf(ctx context.Context, pool *awsclient.Pool, p plan.Plan, done map[distribution.StepID]StepOutcome) distribution.Result {
	var r distribution.Result
	source := sourceAccount(p.Steps)
	removed, lasting, verified := map[string]bool{}, map[string]bool{}, map[distribution.Location]bool{}
	unproved := map[distribution.Location]bool{}
	for _, s := range p.Steps {
		if step.IsVerification(s) && done[s.Meta().ID].Err != nil {
			unproved[s.Meta().Destination] = true
		}
	}
	sizes := map[string]int64{} // of the copies
	told := false               // that the source credentials have ended
	for _, s := range p.Steps {
		d := done[s.Meta().ID]
		ended := distribution.StepResult{Step: s.Meta().ID, At: s.Meta().Location, Begun: d.Begun, Ended: d.Ended, Made: d.ID, Skipped: errors.Is(d.Err, errSkipped), Failure: explain(ctx, pool, source, s, d.Err)}
		r.Steps = append(r.Steps, ended)
		switch {
		case ended.Failure == nil, told && isSourceExpired(s, source, d.Err):
		case isSourceExpired(s, source, d.Err):
			told = true
			r.Findings = append(r.Findings, sourceCredentialsExpired(*ended.Failure, s))
		default:
			r.Findings = append(r.Findings, *ended.Failure)
		}
		r.Findings = append(r.Findings, d.Notes...)
		r.Left = append(r.Left, d.Retained...)
		if s, is := s.(*step.CopySnapshot); is {
			sizes[d.ID] = s.GiB
			if d.Snapshot != nil { // one that failed, and was made again
				sizes[aws.ToString(d.Snapshot.SnapshotId)] = s.GiB
			}
		}
		switch s := s.(type) {
		case *step.VerifyImage:
			verified[s.Location] = d.Err == nil
			switch {
			case d.Err != nil:
			case unproved[s.Location]:
				r.Left = append(r.Left, distribution.RetainedResource{At: s.Location, Kind: "image", Resource: d.ID, Why: distribution.KeptRegistered})
			default:
				image, from := createdImage(p, s, d), done[s.Image.From]
				image.Earlier = s.Image.From == "" || from.Adopted
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
				r.Findings = append(r.Findings, distribution.Finding{Level: distribution.Note, Field: "publish", Summary: "nothing was published", Detail: `publish = "all", and not every required destination has a proved image`,
					Remediation: "resume the run: it keeps what is completed"})
			}
		case *step.ShareImage:
			if s.Lasting && d.Err == nil {
				lasting[d.ID] = true
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
		if left, is := retainedBy(s, done[s.Meta().ID], verified, removed, lasting); is {
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

// sourceEnded reports a step that failed because the source credentials are over (5.4): it acts with them, or a target's role is assumed
// with them. Every step that still needs them fails so: it is told once.
func isSourceExpired(s step.Step, source string, err error) bool {
	if !awsclient.HasEnded(err) {
		return false
	}
	at, refusal := s.Meta(), awsclient.Refused("", err)
	return source == "" && at.Destination == (distribution.Location{}) || at.Location.Account == source || refusal.Operation == "sts:AssumeRole"
}

// distinct names each thing that stays once, however many steps could not remove it.
func distinctResources(left []distribution.RetainedResource) []distribution.RetainedResource {
	type thing struct {
		at             distribution.Location
		kind, resource string
	}
	seen := map[thing]bool{}
	return slices.DeleteFunc(left, func(l distribution.RetainedResource) bool {
		one := thing{l.At, l.Kind, l.Resource}
		again := seen[one]
		seen[one] = true
		return again
	})
}

// atAnEnd makes of what the first step met what is so for all of them.
func sourceCredentialsExpired(f distribution.Finding, first step.Step) distribution.Finding {
	f.Reference, f.Summary, f.Resource = "5.4", "the source credentials have ended", ""
	f.Detail = "from here on nothing could be done with them, first: " + first.String() + "; " + f.Detail
	f.Remediation = "renew the credentials that the run began with and resume the run: it keeps what is completed"
	return f
}

// sourceAccount is whose the source image is; "" where no step tells.
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
	m := distribution.CreatedImage{At: s.Location, Target: s.Target, ImageID: d.ID, Name: s.Name}
	if i := slices.IndexFunc(p.Destinations, func(d plan.DestinationPlan) bool { return d.At == s.Location }); i >= 0 {
		m.Carried, m.Pointers = p.Destinations[i].Carried, slices.Clone(p.Destinations[i].Pointers)
	}
	for _, device := range slices.Sorted(maps.Keys(s.Snapshots)) {
		wanted := s.Snapshots[device]
		m.Snapshots = append(m.Snapshots, distribution.CreatedSnapshot{Device: device, SnapshotID: d.SnapshotIDs[device], KeyARN: wanted.KeyARN, GiB: int32(wanted.GiB)})
	}
	return m
}

// set notes that something names the image of a place.
func markPointerSet(images []distribution.CreatedImage, at distribution.Location, pointer distribution.Pointer) {
	for _, m := range images {
		for i, p := range m.Pointers {
			if m.At == at && p.Kind == pointer.Kind && p.Name == pointer.Name {
				m.Pointers[i].Set = true
			}
		}
	}
}

// unfinished is what a step made that no image of this run uses: it stays for the next run.
func retainedBy(s step.Step, d StepOutcome, verified map[distribution.Location]bool, removed, lasting map[string]bool) (distribution.RetainedResource, bool) {
	left := distribution.RetainedResource{At: s.Meta().Location, Resource: d.ID}
	if errors.Is(d.Err, errSkipped) {
		return notRemovedBy(s)
	}
	if d.ID == "" {
		return left, false
	}
	switch s := s.(type) {
	case *step.CreateEmptySnapshot:
		left.Kind, left.Why = "snapshot", "the canary; the next run removes it"
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
			return left, !removed[d.ID] && !lasting[d.ID]
		}
		return left, !verified[s.Destination] && !removed[d.ID]
	case *step.RegisterImage:
		left.Kind, left.Why = "image", "registered, but not verified"
		return left, !verified[s.Location]
	}
	return left, false
}

// unremoved is what earlier runs left and a step that was skipped was to remove.
func notRemovedBy(s step.Step) (distribution.RetainedResource, bool) {
	left := distribution.RetainedResource{At: s.Meta().Location, Why: "of an earlier run; the next run continues with it or deletes it"}
	switch s := s.(type) {
	case *step.DeleteSnapshot:
		left.Kind, left.Resource = "snapshot", s.Snapshot.Known
	case *step.DeregisterImage:
		if s.Name == "" { // else it is the target's own
			left.Kind, left.Resource = "image", s.Image.Known
		}
	}
	return left, left.Resource != ""
}

// explain makes a finding of what a step ended with; nil where it ended well or was not begun.
func explain(ctx context.Context, pool *awsclient.Pool, source string, s step.Step, err error) *distribution.Finding {
	if err == nil || errors.Is(err, errSkipped) {
		return nil
	}
	refusal, asked := refusalOf(err)
	if wrong := (*verificationError)(nil); errors.As(err, &wrong) {
		return wrong.finding(s)
	}
	if !asked { // not AWS's, but ours
		return &distribution.Finding{Level: distribution.Refused, Location: s.Meta().Location, Resource: s.ResourceID(), Summary: "could not " + s.String(), Detail: err.Error(),
			Remediation: "resume the run: it keeps what is completed"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), gracePeriod)
	defer cancel()
	who, _ := pool.Identity(ctx, s.Meta().Location) // asked for before, as a rule; without it the finding is only less exact
	f := diagnose.Explain(diagnose.Case{Refusal: refusal, Step: s, Principal: who.ARN, Resource: s.ResourceID(), SourceAccount: source})
	return &f
}

// refusalOf is AWS's part in an error; false where it has none.
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

// reason is an error in one line: AWS's code and words, without what the SDK puts round them.
func reason(err error) string {
	refusal, asked := refusalOf(err)
	if !asked {
		return err.Error()
	}
	return strings.TrimPrefix(refusal.Code+": "+refusal.Message, ": ")
}
