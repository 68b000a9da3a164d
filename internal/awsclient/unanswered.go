// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"errors"
	"fmt"
	"sync"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// unanswered is the last call that got no answer, while it has none: an endpoint out of reach is asked until the run ends.
type unanswered struct {
	mu   sync.Mutex
	call string // "KMS DescribeKey in eu-west-1"
	why  error
}

// note takes down how an attempt ended.
func (u *unanswered) note(ctx context.Context, err error) {
	var unsent *smithyhttp.RequestSendError
	call := fmt.Sprintf("%s %s in %s", awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), awsmiddleware.GetRegion(ctx))
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case errors.As(err, &unsent) && ctx.Err() == nil:
		u.call, u.why = call, unsent
	case call == u.call && ctx.Err() == nil:
		u.call, u.why = "", nil
	}
}

// Waited adds to the reason why a look has ended the call that it waited for, where that had no answer.
func (p *Pool) Waited(why error) error {
	p.unanswered.mu.Lock()
	defer p.unanswered.mu.Unlock()
	if p.unanswered.call == "" {
		return why
	}
	return fmt.Errorf("%w; by then nothing had answered %s: %w", why, p.unanswered.call, p.unanswered.why)
}
