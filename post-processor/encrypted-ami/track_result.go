// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// trackPlan adds the destinations and findings of a plan to the result, and makes the output describe its steps.
func (r *run) trackPlan(p plan.Plan) {
	r.plan, r.steps = p, map[distribution.StepID]step.Step{}
	r.timed, r.pending = map[distribution.StepID]int{}, map[distribution.Location]int{}

	for _, newStep := range p.Steps {
		r.steps[newStep.Meta().ID] = newStep
		if plan.CountsForDestination(newStep) {
			r.pending[newStep.Meta().Destination]++
		}
	}
	r.progress.follow(p)
	r.result.Findings = p.Findings
	r.result.Destinations = nil
	for _, d := range p.Destinations {
		end := distribution.DestinationResult{At: d.At, Target: d.Target, Optional: d.Optional, State: distribution.Waiting}
		switch {
		case p.IsUnanswered(d), d.LeftOut && p.Refuses(d.At):
			end.State = distribution.DestinationFailed
		case d.LeftOut:
			end.State = distribution.Excluded
		}
		r.result.Destinations = append(r.result.Destinations, end)
	}
}

// say prints an event and adds it to the result.
func (r *run) say(e distribution.Event) {
	r.progress.say(e)
	newStep := r.steps[e.Step]
	if newStep == nil {
		return
	}
	r.time(e)
	r.writeDue(r.advance(newStep, e))
}

// time adds the start or end of a step to the timeline.
func (r *run) time(e distribution.Event) {
	i, known := r.timed[e.Step]
	if !known {
		i = len(r.result.Steps)
		r.timed[e.Step] = i
		r.result.Steps = append(r.result.Steps, distribution.StepResult{Step: e.Step, At: e.At})
	}
	s := &r.result.Steps[i]
	switch e.Kind {
	case distribution.Begun:
		s.Begun = e.Time
	case distribution.Finished:
		s.Ended, s.Made = e.Time, e.Resource
	case distribution.Failed:
		s.Ended, s.Made, s.Failure = e.Time, e.Resource, &distribution.Finding{
			Level:    distribution.Refused,
			Code:     distribution.CodeStepFailed,
			Location: e.At,
			Summary:  e.Text,
		}
	case distribution.Skipped:
		s.Ended, s.Skipped = e.Time, true
	}
}

// advance updates the state of a destination. It reports whether the state changed.
func (r *run) advance(newStep step.Step, e distribution.Event) bool {
	i := slices.IndexFunc(
		r.result.Destinations,
		func(d distribution.DestinationResult) bool { return d.At == newStep.Meta().Destination },
	)
	if i < 0 {
		return false
	}
	d := &r.result.Destinations[i]
	before := d.State
	if e.Kind == distribution.Finished && plan.CountsForDestination(newStep) {
		r.pending[d.At]--
	}
	if newStep.Role() == step.VerifiesImage && e.Kind == distribution.Finished {
		d.ImageID = e.Resource
	}
	switch {
	case before == distribution.DestinationSucceeded: // it stays succeeded, even if a cleanup step fails later
	case e.Kind == distribution.Failed:
		d.State = distribution.DestinationFailed
	case e.Kind == distribution.Finished && r.pending[d.At] == 0 && d.ImageID != "":
		d.State = distribution.DestinationSucceeded
	case e.Kind == distribution.Begun && before == distribution.Waiting:
		d.State = distribution.InProgress
	}
	if d.State != before {
		r.progress.destination(*d)
	}
	return d.State != before
}

// keep stores the result of a plan as the result of the run.
func (r *run) keep(result distribution.Result) {
	result.Begun, result.Source, result.Destinations = r.result.Begun, r.result.Source, r.result.Destinations
	for i := range result.Destinations {
		d := &result.Destinations[i]
		made := slices.IndexFunc(result.Images, func(m distribution.CreatedImage) bool { return m.At == d.At })
		switch {
		case made >= 0:
			d.State, d.ImageID = distribution.DestinationSucceeded, result.Images[made].ImageID
			if !result.Images[made].Published() {
				d.State = distribution.DestinationFailed
			}
		case d.State != distribution.Excluded:
			d.State = distribution.DestinationFailed
		}
	}
	r.result = result
}

// unfinished returns the destinations without a published AMI.
func unfinished(result distribution.Result) []distribution.DestinationResult {
	return slices.DeleteFunc(
		slices.Clone(result.Destinations),
		func(d distribution.DestinationResult) bool { return d.State == distribution.DestinationSucceeded },
	)
}
