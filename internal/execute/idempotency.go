// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// once makes a call that has no token (4.2.3). After a reset, a time-out or 5xx nobody knows whether it had its effect: the place
// is looked at for up to five minutes, and only then the call is made again. find answers "" for nothing found.
func (t *executor) callOnce(ctx context.Context, j *stepRun, find, call func(context.Context) (string, error)) (string, error) {
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
	lasting, release := withGracePeriod(ctx)
	defer release()
	asked := time.Now()
	id, err := call(lasting)
	if err == nil {
		t.recordCreatedID(id)
	}
	if awsclient.IsOutcomeUnknown(err) {
		j.state.unconfirmedSince, j.state.polls, j.state.responseLost = asked, 0, true
		return "", retryAfter{step.Backoff(0)}
	}
	return id, err
}
