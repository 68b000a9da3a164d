// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim/wire"
)

// World is one simulated AWS: all its partitions, accounts and Regions.
type World struct {
	mu            sync.Mutex // held round the execution of a call, never across a sleep
	now           func() time.Time
	seed          uint64
	latencyOff    bool            // no latency: for a server, whose network has its own
	disabledRules map[string]bool // rules switched off, by number
	state
	recorder
	faults
	signingState
}

// Option sets up a World.
type Option func(*World)

// WithClock gives the world another clock than package time's.
func WithClock(now func() time.Time) Option { return func(w *World) { w.now = now } }

// WithSeed chooses what is drawn: ids, latencies, durations of copies, faults. The same seed repeats a run call by
// call.
func WithSeed(seed uint64) Option { return func(w *World) { w.seed = seed } }

// WithoutLatency answers at once.
func WithoutLatency() Option { return func(w *World) { w.latencyOff = true } }

// WithoutRule switches one enforced rule off: the mutation check shows that some test notices.
func WithoutRule(number string) Option { return func(w *World) { w.disabledRules[number] = true } }

// New makes an empty world. Accounts come into being when they are first named.
func New(options ...Option) *World {
	w := &World{now: time.Now, disabledRules: map[string]bool{}, state: newState()}
	for _, set := range options {
		set(w)
	}
	return w
}

// Do makes the world an HTTP client of the SDK.
func (w *World) Do(r *http.Request) (*http.Response, error) { return w.RoundTrip(r) }

// maxBodySize is the longest request that a server takes, in bytes. The longest of AWS's own are policies of 32 KiB and
// user data of 16 KiB.
const maxBodySize = 1 << 20

// ServeHTTP makes the world a server.
func (w *World) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(out, r.Body, maxBodySize)
	answer, err := w.RoundTrip(r)
	if err != nil { // a fault that cuts the connection
		panic(http.ErrAbortHandler)
	}
	writeResponse(out, answer)
}

// RoundTrip is the way of a call: parse, wait, authenticate, decode, throttle, faults, execute (syntax, authorise, dry
// run, checks, effect: rule 6.4), record, encode.
func (w *World) RoundTrip(r *http.Request) (*http.Response, error) {
	request, err := wire.Parse(r)
	c := &Call{
		Service:   request.Service,
		Operation: request.Operation,
		Region:    request.Region,
		request:   request,
		line:      lineOf(r),
	}

	if err != nil {
		c.At = w.now()
		return w.respond(c, nil, err)
	}

	if err := w.delay(r.Context(), c); err != nil {
		return nil, err
	}

	answer, err := w.execute(c)
	if errors.Is(err, errPaused) {
		if !c.resume() {
			return nil, ErrCrashed
		}
		answer, err = w.execute(c)
	}

	time.Sleep(c.pause)
	return answer, err
}

// execute lets a call arrive. A client that pauses before it sends the call gets errPaused.
func (w *World) execute(c *Call) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.At = w.now()
	out, err := w.handle(c)
	if errors.Is(err, errPaused) {
		w.beginPause(c)
		return nil, err
	}

	answer, err := w.respond(c, out, err)
	if c.fault == PauseAfterResponse && err == nil {
		w.beginPause(c)
	}

	w.record(c, err)
	if c.errorCode == "" {
		w.runTagger(c)
	}

	return answer, err
}

// handle does a call under the lock.
func (w *World) handle(c *Call) (any, error) {
	operation, known := operations[c.Service][c.Operation]
	if !known {
		return nil, c.request.UnknownOperation()
	}
	if err := w.authenticate(c); err != nil {
		return nil, err
	}

	c.In = operation.new()
	extras, err := c.request.Decode(c.In)
	if err != nil {
		return nil, err
	}

	c.extraParameters, c.DryRun = extras, isDryRun(c.In)
	if err := w.throttle(c); err != nil {
		return nil, err
	}

	return w.executeWithFaults(c, func() (any, error) { return w.observed(c, operation) })
}

// isDryRun reads the DryRun member that most EC2 inputs and some of KMS have.
func isDryRun(in any) bool {
	field := reflect.ValueOf(in).Elem().FieldByName("DryRun")
	if !field.IsValid() {
		return false
	}
	flag, ok := field.Interface().(*bool)
	return ok && flag != nil && *flag
}
