// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package optioncoverage

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// Watch is a way to a world, an HTTP client of the SDK, that tells what AWS sees of a run.
type Watch struct {
	world *awssim.World
	begun int // calls before the run
	hosts sync.Map
}

// NewWatch watches from now on.
func NewWatch(world *awssim.World) *Watch { return &Watch{world: world, begun: len(world.Records())} }

// Do notes whom a request is for.
func (w *Watch) Do(r *http.Request) (*http.Response, error) {
	w.hosts.Store(r.URL.Host, true)
	return w.world.Do(r)
}

// Seen are the calls of the run, which may have taken another way, and the hosts that were asked by this one.
func (w *Watch) Seen() (lines []string) {
	for _, r := range w.world.Records()[w.begun:] {
		lines = append(lines, fmt.Sprintf("call: %s of %s in %s by %s, dry run %v, parameters %s, of %v: %s", r.Action, r.Account, r.Region, r.Principal, r.DryRun, r.RequestDigest, r.Resources, r.Error))
	}
	for host := range w.hosts.Range {
		lines = append(lines, fmt.Sprint("host: ", host))
	}
	return lines
}

// OverTLS serves a world over the network for the time of a test, with a certificate that nobody vouches for, as the endpoint of all services. It
// returns what takes the address, which is never the same, out of an error.
func OverTLS(t *testing.T, world *awssim.World) (steady func(error) error) {
	t.Helper()
	server := httptest.NewUnstartedServer(world)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	return func(err error) error {
		if err == nil {
			return nil
		}
		return errors.New(strings.ReplaceAll(err.Error(), server.URL, "the server"))
	}
}
