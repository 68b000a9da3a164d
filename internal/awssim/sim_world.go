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

// World is a simulated AWS with all its partitions, accounts and Regions.
type World struct {
	mu            sync.Mutex // held while a call is executed, never during a sleep
	now           func() time.Time
	seed          uint64
	latencyOff    bool            // for a server, whose network has its own latency
	disabledRules map[string]bool // by number
	alternatives  []Alternative   // WithAlternatives
	state
	recorder
	faults
	signingState
}

// Option configures a World.
type Option func(*World)

// WithClock replaces the clock of package time.
func WithClock(now func() time.Time) Option { return func(w *World) { w.now = now } }

// WithSeed sets the seed of random values: IDs, latencies, durations of copies and faults. A seed repeats a run call by
// call.
func WithSeed(seed uint64) Option { return func(w *World) { w.seed = seed } }

// WithoutLatency disables the latency of calls.
func WithoutLatency() Option { return func(w *World) { w.latencyOff = true } }

// WithoutRule disables an enforced rule. The mutation test uses it to show that a test detects the missing rule.
func WithoutRule(number string) Option { return func(w *World) { w.disabledRules[number] = true } }

// New returns an empty world. An account exists as soon as a call names it.
func New(options ...Option) *World {
	w := &World{now: time.Now, disabledRules: map[string]bool{}, state: newState()}
	for _, set := range options {
		set(w)
	}
	return w
}

// Do makes the world an HTTP client of the SDK.
func (w *World) Do(r *http.Request) (*http.Response, error) { return w.RoundTrip(r) }

// maxBodySize is the maximum size of a request in bytes. The largest parameters of AWS are policies of 32 KiB and user
// data of 16 KiB.
const maxBodySize = 1 << 20

// ServeHTTP makes the world a server.
func (w *World) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(out, r.Body, maxBodySize)
	answer, err := w.RoundTrip(r)
	if err != nil { // an injected fault breaks the connection
		panic(http.ErrAbortHandler)
	}
	writeResponse(out, answer)
}

// RoundTrip handles a request in this order: parse, delay, authenticate, decode, throttle, inject faults, execute,
// record, encode. An operation validates parameters, authorizes, ends a dry run and checks the state before it changes
// anything (rule 6.4).
func (w *World) RoundTrip(r *http.Request) (*http.Response, error) {
	request, err := wire.Parse(r)
	c := &Call{
		Service:   request.Service,
		Operation: request.Operation,
		Region:    request.Region,
		request:   request,
		client:    crashingClientOf(r),
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

	if errors.Is(err, errSilent) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}

	time.Sleep(c.pause)
	return answer, err
}

// execute executes a call. It returns errPaused if the client pauses before it sends the call.
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

// handle executes a call under the lock.
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

	return w.executeWithFaults(c, func() (any, error) { return w.executeObserved(c, operation) })
}

// isDryRun returns the DryRun member of an input. It is false if the input has none.
func isDryRun(in any) bool {
	field := reflect.ValueOf(in).Elem().FieldByName("DryRun")
	if !field.IsValid() {
		return false
	}
	flag, ok := field.Interface().(*bool)
	return ok && flag != nil && *flag
}
