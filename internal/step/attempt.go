// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// attempt executes a step. It holds no client: a type that is converted to an interface links all operations of the
// clients that it can reach.
type attempt struct {
	step     Step
	base     *Base
	outcomes Outcomes // of the steps that this one waited for
	do       func(context.Context) (Outcome, error)

	unconfirmedSince time.Time // time of a call with unknown outcome. Zero if there is none
	polls            int       // number of polls so far
	responseLost     bool      // the response of a call was lost
	resourceID       string    // ID of the created resource
	// snapshots to register the image with, by device. Nil before they are known
	snapshotIDs     map[string]string
	adopting        bool                            // this run has signed an existing resource and not read it back yet
	adopted         bool                            // another run created the resource
	isSigned        bool                            // signed, or signing was denied
	isSigningDenied bool                            // signing was denied
	notes           []distribution.Finding          // findings of a step that went on
	retained        []distribution.RetainedResource // resources that could not be deleted
	changed         bool                            // a change was made and not read back yet
	failedCopy      *CopyStatus                     // failed copy to delete
	discardedIDs    []string                        // IDs of earlier copies that failed
	firstFailure    time.Time                       // when the first copy failed. Zero if none has
	failure         error                           // error that the step ends with after failedCopy is deleted
	missingSince    time.Time                       // since when AWS does not show the expected state. Zero if it does
	isRetryReported bool                            // the user knows why the step is retried
}

// newAttempt returns an attempt that executes a step by calling do.
func newAttempt[S Step](s S, env Env, do func(context.Context, *attempt, S) (Outcome, error)) Attempt {
	a := &attempt{step: s, base: s.Meta(), outcomes: env.Outcomes}
	a.do = func(ctx context.Context) (Outcome, error) { return do(ctx, a, s) }
	return a
}

func (a *attempt) Do(ctx context.Context) (Outcome, error) { return a.do(ctx) }

// Complete adds to an outcome what the step created before it ended or was stopped.
func (a *attempt) Complete(o Outcome) Outcome {
	o.ID, o.Repeated = cmp.Or(o.ID, a.resourceID), a.responseLost
	o.Retained = slices.Concat(o.Retained, a.leftovers())
	o.Notes = append(o.Notes, a.notes...)
	return o
}

// MustCleanUp reports whether a failed copy must be deleted.
func (a *attempt) MustCleanUp() bool { return a.failedCopy != nil }

// leftovers returns the resources of a step that nothing uses.
func (a *attempt) leftovers() []distribution.RetainedResource {
	all := slices.Clone(a.retained)
	if a.failedCopy != nil { // the run was stopped before the copy was deleted
		kind, id := a.failedCopy.resource()
		all = append(all, distribution.RetainedResource{
			At:       a.base.Location,
			Kind:     kind,
			Resource: id,
			Why:      a.failedCopy.text,
		})
	}
	return all
}

// id returns the ID of the resource that a reference stands for. Empty if its step created none.
func (a *attempt) id(r Ref) string { return Env{Outcomes: a.outcomes}.ID(r) }

// discardCopy forgets a failed copy, so that the next attempt creates another.
func (a *attempt) discardCopy(id string) {
	a.resourceID, a.isSigned, a.adopted = "", false, false
	a.discardedIDs = append(a.discardedIDs, id)
}

// keepPolling counts a poll that did not find the expected state, and reports whether to poll again.
func (a *attempt) keepPolling() bool { return a.keepPollingFor(EventualConsistencyTimeout) }

// keepRechecking counts a poll that found a difference, and reports whether to poll again.
func (a *attempt) keepRechecking() bool { return a.keepPollingFor(differenceTimeout) }

func (a *attempt) keepPollingFor(timeout time.Duration) bool {
	if a.missingSince.IsZero() {
		a.missingSince = time.Now()
	}
	a.polls++
	return time.Since(a.missingSince) < timeout
}

// callOnce makes a call that has no client token (rule 4.2.3). After a reset, timeout or 5xx the outcome is
// unknown. It then polls for the resource for up to five minutes before it calls again, because a second call would
// create a duplicate. find returns an empty ID if it finds nothing.
func (r *Run) callOnce(
	ctx context.Context,
	a *attempt,
	find, call func(context.Context) (string, error),
) (string, error) {
	if !a.unconfirmedSince.IsZero() {
		id, err := find(ctx)
		if err != nil {
			return "", err
		}
		if id == "" && time.Since(a.unconfirmedSince) < EventualConsistencyTimeout {
			a.polls++
			return "", RetryAfter{Backoff(a.polls)}
		}
		a.unconfirmedSince = time.Time{}
		if id != "" {
			return id, nil
		}
	}

	if err := context.Cause(ctx); err != nil {
		return "", err
	}

	graceCtx, release := withGracePeriod(ctx)
	defer release()
	calledAt := time.Now()
	id, err := call(graceCtx)
	if err == nil {
		r.recordCreatedID(id)
	}

	if awsclient.IsUnanswered(err) { // the destination fails; the call may have had its effect
		if id, findErr := find(graceCtx); findErr == nil && id != "" {
			return id, nil
		}
		return "", err
	}

	if awsclient.IsOutcomeUnknown(err) {
		a.unconfirmedSince, a.polls, a.responseLost = calledAt, 0, true
		return "", RetryAfter{Backoff(0)}
	}

	return id, err
}
