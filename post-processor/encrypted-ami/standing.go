// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// follow takes the destinations of a plan and what was found into the result.
func (r *run) trackPlan(p plan.Plan) {
	r.plan, r.steps, r.timed, r.pending = p, map[plan.StepID]plan.Step{}, map[plan.StepID]int{}, map[plan.Location]int{}
	for _, step := range p.Steps {
		r.steps[step.Meta().ID] = step
		if plan.CountsForDestination(step) {
			r.pending[step.Meta().Destination]++
		}
	}
	r.result.Findings = p.Findings
	for _, d := range p.Destinations {
		end := plan.DestinationResult{At: d.At, Target: d.Target, Optional: d.Optional, State: plan.Waiting}
		if d.LeftOut {
			end.State = plan.Excluded
		}
		r.result.Destinations = append(r.result.Destinations, end)
	}
}

// say shows an event, and takes it into the result that is kept.
func (r *run) say(e plan.Event) {
	r.progress.say(e)
	step := r.steps[e.Step]
	if step == nil {
		return
	}
	r.time(e)
	r.writeDue(r.advance(step, e))
}

// time takes the beginning or end of a step into the time line.
func (r *run) time(e plan.Event) {
	i, known := r.timed[e.Step]
	if !known {
		i = len(r.result.Steps)
		r.timed[e.Step] = i
		r.result.Steps = append(r.result.Steps, plan.StepResult{Step: e.Step, At: e.At})
	}
	s := &r.result.Steps[i]
	switch e.Kind {
	case plan.Begun:
		s.Begun = e.Time
	case plan.Finished:
		s.Ended, s.Made = e.Time, e.Resource
	case plan.Failed:
		s.Ended, s.Made, s.Failure = e.Time, e.Resource, &plan.Finding{Level: plan.Refused, Location: e.At, Summary: e.Text}
	case plan.Skipped:
		s.Ended, s.Skipped = e.Time, true
	}
}

// advance reports whether a destination gets on by an event.
func (r *run) advance(step plan.Step, e plan.Event) bool {
	i := slices.IndexFunc(r.result.Destinations, func(d plan.DestinationResult) bool { return d.At == step.Meta().Destination })
	if i < 0 {
		return false
	}
	d := &r.result.Destinations[i]
	before := d.State
	if e.Kind == plan.Finished && plan.CountsForDestination(step) {
		r.pending[d.At]--
	}
	if _, verified := step.(*plan.VerifyImage); verified && e.Kind == plan.Finished {
		d.ImageID = e.Resource
	}
	switch {
	case before == plan.DestinationSucceeded: // what is tidied up behind it changes nothing
	case e.Kind == plan.Failed:
		d.State = plan.DestinationFailed
	case e.Kind == plan.Finished && r.pending[d.At] == 0 && d.ImageID != "":
		d.State = plan.DestinationSucceeded
	case e.Kind == plan.Begun && before == plan.Waiting:
		d.State = plan.Underway
	}
	return d.State != before
}

// keep makes the end of a plan the run's result.
func (r *run) keep(result plan.Result) {
	result.Begun, result.Source, result.Destinations = r.result.Begun, r.result.Source, r.result.Destinations
	for i := range result.Destinations {
		d := &result.Destinations[i]
		made := slices.IndexFunc(result.Images, func(m plan.CreatedImage) bool { return m.At == d.At })
		switch {
		case made >= 0:
			d.State, d.ImageID = plan.DestinationSucceeded, result.Images[made].ImageID
			if !result.Images[made].Published() {
				d.State = plan.DestinationFailed
			}
		case d.State != plan.Excluded:
			d.State = plan.DestinationFailed
		}
	}
	r.result = result
}

// unserved are the destinations that a run has ended without an image for.
func unserved(result plan.Result) []plan.DestinationResult {
	return slices.DeleteFunc(slices.Clone(result.Destinations), func(d plan.DestinationResult) bool { return d.State == plan.DestinationSucceeded })
}
