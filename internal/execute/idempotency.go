// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// callOnce makes a call that has no client token (rule 4.2.3). After a reset, timeout or 5xx the outcome is
// unknown. It then polls for the resource for up to five minutes before it calls again, because a second call would
// create a duplicate. find returns an empty ID if it finds nothing.
func (t *executor) callOnce(
	ctx context.Context,
	j *stepRun,
	find, call func(context.Context) (string, error),
) (string, error) {
	if !j.state.unconfirmedSince.IsZero() {
		id, err := find(ctx)
		if err != nil {
			return "", err
		}
		if id == "" && time.Since(j.state.unconfirmedSince) < step.EventualConsistencyTimeout {
			j.state.polls++
			return "", retryAfter{step.Backoff(j.state.polls)}
		}
		j.state.unconfirmedSince = time.Time{}
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
		t.recordCreatedID(id)
	}

	if awsclient.IsOutcomeUnknown(err) {
		j.state.unconfirmedSince, j.state.polls, j.state.responseLost = calledAt, 0, true
		return "", retryAfter{step.Backoff(0)}
	}

	return id, err
}
