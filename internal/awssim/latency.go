// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"time"
)

// wait lets a call take 20 to 80 ms, drawn to the nanosecond from the seed and the call itself, so that no two calls share
// a moment and a seed repeats a run call by call. It draws the call's request id, too.
func (w *World) wait(ctx context.Context, c *Call) error {
	w.mu.Lock()
	drawn := w.draw("latency", c.request.AccessKeyID, c.Region, c.Service, string(c.request.Body))
	quiet := w.quiet
	w.mu.Unlock()
	c.ID = requestID(drawn)
	if quiet {
		return nil
	}
	timer := time.NewTimer(20*time.Millisecond + time.Duration(drawn%uint64(60*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
