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
	call call
	why  error // nil: there is none
}

type call struct{ service, operation, region string }

// note takes down how an attempt ended.
func (u *unanswered) note(ctx context.Context, err error) {
	var unsent *smithyhttp.RequestSendError
	this := call{awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), awsmiddleware.GetRegion(ctx)}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case errors.As(err, &unsent) && ctx.Err() == nil:
		u.call, u.why = this, unsent
	case this == u.call && ctx.Err() == nil:
		u.why = nil
	}
}

// Waited adds to the reason why a look has ended the call that it waited for, where that had no answer.
func (p *Pool) Waited(why error) error {
	p.unanswered.mu.Lock()
	defer p.unanswered.mu.Unlock()
	if p.unanswered.why == nil {
		return why
	}
	c := p.unanswered.call
	return fmt.Errorf("%w; by then nothing had answered %s %s in %s: %w", why, c.service, c.operation, c.region, p.unanswered.why)
}
