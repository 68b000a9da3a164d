// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"fmt"
	"hash/fnv"
	"regexp"
	"time"
)

// delay delays a call by 20 to 80 ms. The delay depends on the seed and the call, so no two calls happen at the same
// time and a seed repeats a run. It also sets the request ID.
func (w *World) delay(ctx context.Context, c *Call) error {
	c.bodyDigest = digestBody(sdkClientToken.ReplaceAll(c.request.Body, nil))
	w.mu.Lock()
	drawn := w.random("latency", c.request.AccessKeyID, c.Region, c.Service, c.bodyDigest)
	quiet := w.latencyOff
	w.mu.Unlock()
	c.ID = newRequestID(drawn)
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

// sdkClientToken matches the client token that the SDK generates if a request has none. It differs from run to run.
var sdkClientToken = regexp.MustCompile(
	`ClientToken=[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`,
)

// digestBody returns a short digest that is equal for equal requests of two runs.
func digestBody(body []byte) string {
	h := fnv.New64a()
	h.Write(body)
	return fmt.Sprintf("%016x", h.Sum64())
}
