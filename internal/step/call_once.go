// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
)

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
