// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"
	"maps"
	"slices"

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
	outcomes step.Outcomes,
) distribution.Result {
	b := resultBuilder{
		plan:       p,
		outcomes:   outcomes,
		source:     sourceAccount(p),
		unverified: map[distribution.Location]bool{},
		verified:   map[distribution.Location]bool{},
		removed:    map[string]bool{},
		shared:     map[string]bool{},
		sizes:      map[string]int64{},
	}

	for _, s := range p.Steps {
		if s.Role().IsVerification() && outcomes.Of(s.Meta().ID).Err != nil {
			b.unverified[s.Meta().Destination] = true
		}
	}

	results := make([]step.Result, len(p.Steps))
	for i, s := range p.Steps {
		outcome := outcomes.Of(s.Meta().ID)
		results[i] = s.Result(outcome)
		b.addOutcome(s, outcome, explain(ctx, pool, b.source, s, outcome.Err))
		b.addResult(results[i])
	}

	for _, s := range p.Shares {
		if s.Shared != "" {
			b.result.Shares = append(b.result.Shares, distribution.Shared{At: s.At, ImageID: s.Shared, With: s.With})
		}
	}

	b.addSharePointers()
	for i, s := range p.Steps {
		outcome := outcomes.Of(s.Meta().ID)
		if pointer, ok := s.Pointer(); ok && outcome.Err == nil {
			b.markPointerSet(s.Meta(), pointer)
		}
		b.addRetained(results[i], errors.Is(outcome.Err, step.ErrSkipped))
	}

	return b.finished()
}

// resultBuilder collects the result of a plan.
type resultBuilder struct {
	plan             plan.Plan
	outcomes         step.Outcomes
	source           string // account of the source image
	result           distribution.Result
	unverified       map[distribution.Location]bool // a verification failed
	verified         map[distribution.Location]bool // the image passed
	removed          map[string]bool                // IDs of resources that are gone
	shared           map[string]bool                // IDs of images with a lasting share
	sizes            map[string]int64               // of copies, by snapshot ID
	isExpiryReported bool                           // expired source credentials are reported
}

// addOutcome adds the outcome of a step. failure is nil if the step succeeded or never started.
func (b *resultBuilder) addOutcome(s step.Step, o step.Outcome, failure *distribution.Finding) {
	r := &b.result
	r.Steps = append(r.Steps, distribution.StepResult{
		Step:    s.Meta().ID,
		At:      s.Meta().Location,
		Begun:   o.Begun,
		Ended:   o.Ended,
		Made:    o.ID,
		Skipped: errors.Is(o.Err, step.ErrSkipped) || isUntestedDestination(s, o.Err),
		Failure: failure,
	})

	switch isExpired := isSourceExpired(s, b.source, o.Err); {
	case failure == nil, isExpired && b.isExpiryReported:
	case isExpired:
		b.isExpiryReported = true
		r.Findings = append(r.Findings, sourceCredentialsExpired(*failure, s))
	default:
		r.Findings = append(r.Findings, *failure)
	}

	r.Findings = append(r.Findings, o.Notes...)
	r.Left = append(r.Left, o.Retained...)
	for _, id := range o.Removed {
		b.removed[id] = true
	}
}

// addResult adds the contribution of a step's outcome to the result.
func (b *resultBuilder) addResult(c step.Result) {
	r := &b.result
	r.Findings = append(r.Findings, c.Findings...)
	maps.Copy(b.sizes, c.GiB)
	if c.Removed != "" {
		b.removed[c.Removed] = true
	}

	if c.Image != nil {
		b.addImage(*c.Image)
	}

	if c.Temporary != nil {
		r.Temporary = append(r.Temporary, *c.Temporary)
	}

	if c.Grant != nil {
		r.Grants = append(r.Grants, *c.Grant)
	}

	if c.Share != nil {
		b.shared[c.Share.ImageID] = true
		r.Shares = append(r.Shares, *c.Share)
	}
}

// addImage adds a verified image. It is retained if a later verification failed.
func (b *resultBuilder) addImage(image distribution.CreatedImage) {
	b.verified[image.At] = true
	if b.unverified[image.At] {
		b.result.Left = append(b.result.Left, distribution.RetainedResource{
			At:       image.At,
			Kind:     "image",
			Resource: image.ImageID,
			Why:      distribution.KeptRegistered,
		})
		return
	}

	for _, d := range b.plan.Destinations {
		if d.At == image.At {
			image.Carried, image.Pointers = d.Carried, slices.Clone(d.Pointers)
		}
	}
	b.result.Images = append(b.result.Images, image)
}

// addRetained adds a resource that a step created and that no image of this run uses. The next run reuses or deletes
// it.
func (b *resultBuilder) addRetained(c step.Result, isSkipped bool) {
	if c.Retained != nil {
		b.result.Left = append(b.result.Left, *c.Retained)
	}

	created := c.Created
	if created == nil || isSkipped || b.removed[created.Resource] || b.shared[created.Resource] {
		return
	}

	isTemporary := created.Destination == (distribution.Location{})
	if isTemporary || !b.verified[created.Destination] {
		b.result.Left = append(b.result.Left, created.RetainedResource)
	}
}

// finished returns the result after all steps were added.
func (b *resultBuilder) finished() distribution.Result {
	r := b.result
	r.Findings = append(r.Findings, plan.PointerFindings(b.plan, r.Images)...)
	r.Left = distinctResources(r.Left)
	for i, left := range r.Left {
		if left.Kind == "snapshot" && left.GiB == 0 {
			r.Left[i].GiB = b.sizes[left.Resource]
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

// sourceAccount returns the owner of the source image. Empty if the plan does not know it.
func sourceAccount(p plan.Plan) string {
	for _, image := range p.Images {
		if image.Account != "" {
			return image.Account
		}
	}
	return ""
}

// addSharePointers adds the parameters of the share blocks to what is shared.
func (b *resultBuilder) addSharePointers() {
	for i, shared := range b.result.Shares {
		for _, planned := range b.plan.Shares {
			if planned.At == shared.At {
				b.result.Shares[i].Pointers = slices.Clone(planned.Pointers)
			}
		}
	}
}

// markPointerSet marks a parameter or launch template as set for the image of a destination, or for what is shared.
func (b *resultBuilder) markPointerSet(base *step.Base, pointer distribution.Pointer) {
	mark := func(at distribution.Location, all []distribution.Pointer) {
		for i, p := range all {
			if at == base.Location && p.Kind == pointer.Kind && p.Name == pointer.Name {
				all[i].Set = true
			}
		}
	}
	if base.Destination == (distribution.Location{}) {
		for _, shared := range b.result.Shares {
			mark(shared.At, shared.Pointers)
		}
		return
	}
	for _, image := range b.result.Images {
		mark(image.At, image.Pointers)
	}
}

// explain returns the finding for a failed step. Nil if the step succeeded or never started.
func explain(ctx context.Context, pool *awsclient.Pool, source string, s step.Step, err error) *distribution.Finding {
	if err == nil || errors.Is(err, step.ErrSkipped) {
		return nil
	}

	refusal, isAWS := step.Refusal(err)
	var explained step.ExplainedError
	if errors.As(err, &explained) {
		return explained.Finding(s)
	}

	if refusal.Unanswered {
		return unansweredFinding(s, refusal)
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

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), step.GracePeriod)
	defer cancel()
	caller, _ := pool.Identity(ctx, s.Meta().Location) // usually cached. Without it the finding is less exact
	f := diagnose.Explain(
		diagnose.Case{Refusal: refusal, Step: s, Principal: caller.ARN, Resource: s.ResourceID(), SourceAccount: source},
	)
	return &f
}

// unansweredFinding returns the finding for a step whose call AWS did not answer for minutes.
func unansweredFinding(s step.Step, refusal distribution.APIError) *distribution.Finding {
	f := refusal.Finding(s.Meta().Location)
	f.Resource, f.Detail = s.ResourceID(), "could not "+s.String()+": "+f.Detail
	return &f
}
