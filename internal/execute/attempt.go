// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"errors"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// attempt calls the attempt of a step once. The step's state keeps the attempt between calls.
func (t *executor) attempt(ctx context.Context, j *stepRun) StepOutcome {
	outcome, err := j.state.attempt.Do(ctx)
	if again := (step.RetryAfter{}); errors.As(err, &again) {
		return StepOutcome{Err: retryAfter{again.Delay}}
	}
	return StepOutcome{ID: outcome.ID, SnapshotIDs: outcome.SnapshotIDs, Unsigned: outcome.Unsigned, Notes: outcome.Notes, Err: err}
}

// env returns what a step can reach. j is nil for dry runs, which depend on no step.
func (t *executor) env(j *stepRun) step.Env {
	return step.Env{Clients: t.pool, ReleaseOf: t.releaseOf, Outcome: func(id distribution.StepID) step.Outcome {
		if j == nil {
			return step.Outcome{}
		}
		ended := j.outcomes[id]
		return step.Outcome{ID: ended.ID, SnapshotIDs: ended.SnapshotIDs, Unsigned: ended.Unsigned}
	}}
}

// dryRuns returns the dry runs of a step.
func (t *executor) stepDryRuns(s step.Step) []dryRun {
	var all []dryRun
	for _, d := range step.DryRuns(s, t.env(nil)) {
		all = append(all, dryRun{step: s, location: d.Location, action: d.Action, resource: d.Resource, call: d.Call})
	}
	return all
}
