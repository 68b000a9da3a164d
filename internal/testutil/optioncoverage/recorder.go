// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// CallRecorder is an HTTP client for a world that records what AWS sees of a run.
type CallRecorder struct {
	world *awssim.World
	start int // number of calls before the run
	hosts sync.Map
}

// NewCallRecorder returns a recorder of the calls from now on.
func NewCallRecorder(world *awssim.World) *CallRecorder {
	return &CallRecorder{world: world, start: len(world.Records())}
}

// Do records the host of a request and sends it to the world.
func (c *CallRecorder) Do(r *http.Request) (*http.Response, error) {
	c.hosts.Store(r.URL.Host, true)
	return c.world.Do(r)
}

// Seen returns the calls of the run, also those that other clients sent, and the hosts of its own requests.
func (c *CallRecorder) Seen() (lines []string) {
	for _, r := range c.world.Records()[c.start:] {
		lines = append(lines, fmt.Sprintf("call: %s of %s in %s by %s, dry run %v, parameters %s, of %v: %s",
			r.Action, r.Account, r.Region, r.Principal, r.DryRun, r.RequestDigest, r.Resources, r.Error))
	}
	for host := range c.hosts.Range {
		lines = append(lines, fmt.Sprint("host: ", host))
	}
	return lines
}
