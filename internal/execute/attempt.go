// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// attempt calls the step's own attempt once. The step's state keeps it between calls.
func (t *executor) attempt(ctx context.Context, j *stepRun) StepOutcome {
	outcome, err := j.state.attempt.Do(ctx)
	if retry := (step.RetryAfter{}); errors.As(err, &retry) {
		return StepOutcome{Err: retryAfter{retry.Delay}}
	}
	return StepOutcome{
		ID:          outcome.ID,
		SnapshotIDs: outcome.SnapshotIDs,
		Unsigned:    outcome.Unsigned,
		Notes:       outcome.Notes,
		Err:         err,
	}
}

// env returns what a step can access. j is nil for dry runs, which depend on no step.
func (t *executor) env(j *stepRun) step.Env {
	return step.Env{Clients: t.pool, ReleaseOf: t.releaseOf, Outcome: func(id distribution.StepID) step.Outcome {
		if j == nil {
			return step.Outcome{}
		}
		outcome := j.outcomes[id]
		return step.Outcome{ID: outcome.ID, SnapshotIDs: outcome.SnapshotIDs, Unsigned: outcome.Unsigned}
	}}
}

// stepDryRuns returns the dry runs of a step.
func (t *executor) stepDryRuns(s step.Step) []dryRun {
	var all []dryRun
	for _, d := range step.DryRuns(s, t.env(nil)) {
		all = append(all, dryRun{step: s, location: d.Location, action: d.Action, resource: d.Resource, call: d.Call})
	}
	return all
}
