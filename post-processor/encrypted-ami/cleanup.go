// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// cleanUp executes a run with mode = "cleanup".
func (r *run) cleanUp(ctx context.Context, request distribution.Request) error {
	ctx, err := r.begin(ctx)
	if err != nil && !awsclient.IsNotFound(err) { // for a deleted image, the plan has a better error
		return err
	}
	result, err := r.sweep(ctx, request)
	result.Left = append(result.Left, r.end(ctx, err != nil, result.Temporary)...)
	r.keep(result)
	r.printResult(result)
	if err != nil {
		return err
	}
	r.conclude(ctx)
	for _, line := range r.howToDelete() {
		r.ui.Say(line)
	}
	return nil
}

// sweepingTime is the time limit for deleting what a failed run has left. The run itself may have been canceled.
const sweepingTime = 10 * time.Minute

// clean deletes what a failed run has left unfinished, and adds the outcome to its result.
func (r *run) clean(ctx context.Context, request distribution.Request, failed distribution.Result) distribution.Result {
	r.ui.Say(`Cleaning up what this run did not finish (on_failure = "cleanup")...`)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepingTime)
	defer cancel()
	swept, err := r.sweep(ctx, request)
	if err != nil {
		failed.Findings = append(
			failed.Findings,
			distribution.Finding{
				Level:   distribution.Warning,
				Code:    distribution.CodeCleanupFailed,
				Field:   "on_failure",
				Summary: err.Error(),
			},
		)
	}
	removed := func(l distribution.RetainedResource) bool {
		return slices.ContainsFunc(
			swept.Steps,
			func(s distribution.StepResult) bool { return s.Made == l.Resource && s.Failure == nil },
		)
	}
	failed.Left = append(slices.DeleteFunc(failed.Left, removed), swept.Left...)
	failed.LeftUSD = distribution.USDPerMonth(failed.Left)
	failed.Steps = append(failed.Steps, swept.Steps...)
	failed.Findings = append(failed.Findings, swept.Findings...)
	return failed
}

// sweep deletes what this run and earlier runs have left unfinished. It returns an error if it could not find or delete
// all of that.
func (r *run) sweep(ctx context.Context, request distribution.Request) (distribution.Result, error) {
	request.CleansUp = true
	facts, err := r.look(ctx, request)
	if err != nil {
		return distribution.Result{}, err
	}
	p := plan.Assess(request, facts).CleanUp()
	r.keys = p.Keys
	r.audience.Allow(p.Audience()...)
	notes, err := r.recordFindings(ctx, facts)
	if err != nil {
		return distribution.Result{}, err
	}
	p.Findings = append(diagnose.ExplainFindings(p.Findings, facts), notes...)
	for _, image := range request.Images {
		if facts.Images[image.Region].Image == nil {
			p.Findings = append(p.Findings, distribution.Finding{
				Level: distribution.Refused, Code: distribution.CodeSourceAMIMissing, Reference: "2.2.12", Resource: image.ImageID,
				Location: distribution.Location{Account: r.account, Region: image.Region}, Summary: image.ImageID + " is not there",
				Detail: "a tag of the source AMI proves what runs created",
				Remediation: "look in the target accounts for snapshots with tags " +
					"" + provenance.TagPrefix + "* and delete what is not needed",
			})
		}
	}
	r.followCleanup(p)
	if p.Refused() {
		return distribution.Result{Findings: p.Findings}, &outcomeError{"nothing was removed"}
	}
	result := execute.Run(ctx, r.pool, p, optionsOf(request), r.say)
	if facts.HasHiddenResources() || slices.ContainsFunc(result.Findings, isRefusal) {
		err = &outcomeError{"some unfinished resources could not be removed"}
	}
	result.Findings = append(p.Findings, result.Findings...)
	return result, err
}

func isRefusal(f distribution.Finding) bool { return f.Level == distribution.Refused }
