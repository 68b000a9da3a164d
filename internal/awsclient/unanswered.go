// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// unanswered is the last call that got no answer, while its endpoint gives none: one that is out of reach is asked until the run ends.
type unanswered struct {
	silent func(string) // nil: nobody listens

	mu    sync.Mutex
	call  call
	why   error     // nil: there is none
	since time.Time // when a call had no answer first, and its endpoint has given none after it
	told  bool
}

type call struct{ service, operation, region string }

func (c call) String() string { return c.service + " " + c.operation + " in " + c.region }

// suspicious is how long nothing answers before that is told: less is weather.
const unreachableAfter = time.Minute

// note takes down how an attempt ended.
func (u *unanswered) note(ctx context.Context, err error) {
	if told := u.noted(ctx, err); told != "" && u.silent != nil {
		u.silent(told)
	}
}

// noted is what there is to tell, for the first time, after an attempt; "": nothing.
func (u *unanswered) noted(ctx context.Context, err error) string {
	silence := silenceOf(err)
	this := call{awsmiddleware.GetServiceID(ctx), awsmiddleware.GetOperationName(ctx), awsmiddleware.GetRegion(ctx)}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case silence != nil:
		if u.why == nil {
			u.since, u.told = time.Now(), false
		}
		u.call, u.why = this, silence
		if !u.told && time.Since(u.since) >= unreachableAfter {
			u.told = true
			return fmt.Sprintf("Nothing answers %v: %v. It is asked again and again; does this machine reach that endpoint?", this, silence)
		}
	case this.service == u.call.service && this.region == u.call.region: // the endpoint is there
		u.why = nil
	}
	return ""
}

// silenceOf is what an error says of an answer that did not come, or not as a whole; nil: there was one.
func silenceOf(err error) error {
	var unsent *smithyhttp.RequestSendError
	if errors.As(err, &unsent) {
		return unsent
	}
	return deserializationError(err)
}

// Waited is why a look or call has failed: with ctx over its cause, and the call that it waited for where that had no answer.
func (p *Pool) TimeoutError(ctx context.Context, err error) error {
	over := context.Cause(ctx)
	if over == nil {
		return err
	}
	p.unanswered.mu.Lock()
	defer p.unanswered.mu.Unlock()
	if p.unanswered.why == nil {
		return over
	}
	return fmt.Errorf("%w; by then nothing had answered %v: %w", over, p.unanswered.call, p.unanswered.why)
}
