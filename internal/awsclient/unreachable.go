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

// endpointMonitor holds the last call without a response. A call to an unreachable endpoint is retried until the run
// ends, so the user must see which endpoint it is.
type endpointMonitor struct {
	report func(string) // nil if nothing listens

	mu       sync.Mutex
	call     call
	err      error     // nil if the endpoint of the call has responded since
	since    time.Time // of the first call without a response
	reported bool
}

type call struct{ service, operation, region string }

func (c call) String() string { return c.service + " " + c.operation + " in " + c.region }

// unreachableAfter is how long an endpoint must be silent before that is reported. Shorter outages are common.
const unreachableAfter = time.Minute

// record updates the monitor after an attempt, and reports an endpoint that has become unreachable.
func (m *endpointMonitor) record(ctx context.Context, err error) {
	if text := m.update(ctx, err); text != "" && m.report != nil {
		m.report(text)
	}
}

// update returns the report for an endpoint that has just become unreachable. Empty if none has.
func (m *endpointMonitor) update(ctx context.Context, err error) string {
	noResponse := noResponseError(err)
	this := call{
		awsmiddleware.GetServiceID(ctx),
		awsmiddleware.GetOperationName(ctx),
		awsmiddleware.GetRegion(ctx),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	isSameEndpoint := this.service == m.call.service && this.region == m.call.region

	switch {
	case ctx.Err() != nil:
	case noResponse != nil:
		if m.err == nil {
			m.since, m.reported = time.Now(), false
		}
		m.call, m.err = this, noResponse
		if !m.reported && time.Since(m.since) >= unreachableAfter {
			m.reported = true
			return fmt.Sprintf("No response from %v: %v. Retrying until the timeout; check that this machine can reach the "+
				"endpoint",
				this, noResponse)
		}
	case isSameEndpoint:
		m.err = nil
	}
	return ""
}

// noResponseError returns why a call has no complete response. Nil if it has one.
func noResponseError(err error) error {
	var sendErr *smithyhttp.RequestSendError
	if errors.As(err, &sendErr) {
		return sendErr
	}
	return deserializationError(err)
}

// TimeoutError returns why a call failed. If ctx is done, that is its cause, with the call that had no response.
func (p *Pool) TimeoutError(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil {
		return err
	}
	p.monitor.mu.Lock()
	defer p.monitor.mu.Unlock()
	if p.monitor.err == nil {
		return cause
	}
	return fmt.Errorf("%w; no response from %v: %w", cause, p.monitor.call, p.monitor.err)
}
