// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// ErrCrashed is what a client sees on a line that has been cut.
var ErrCrashed = errors.New("the line has been cut")

// CrashingClient is one run's way to a world, an HTTP client of the SDK. Cut after a call, it is that run's death:
// nothing of the run reaches the world any more, and no answer reaches the run. The next run takes a line of its own.
type CrashingClient struct {
	world        *World
	crashAfter   int         // the call after which the line is cut; 0: never
	responseLost bool        // the answer of that call does not arrive
	onCrash      func(error) // told once, when the line is cut

	mu      sync.Mutex
	calls   int
	crashed bool

	asleep time.Time // the whole client pauses until then
}

// NewCrashingClient makes a way to the world that is cut after a number of calls: right after the effect of the last
// one if its answer is to be lost, else after the answer. Zero calls make a line that is never cut. Die may be nil.
func (w *World) NewCrashingClient(calls int, lost bool, die func(error)) *CrashingClient {
	return &CrashingClient{
		world:        w,
		crashAfter:   calls,
		responseLost: lost,
		onCrash:      die,
	}
}

// Calls are the calls that were executed for the line.
func (l *CrashingClient) Calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// Do sends a request.
func (l *CrashingClient) Do(r *http.Request) (*http.Response, error) { return l.RoundTrip(r) }

// RoundTrip sends a request.
func (l *CrashingClient) RoundTrip(r *http.Request) (*http.Response, error) {
	l.awake()
	if l.isCrashed() {
		return nil, ErrCrashed
	}

	answer, err := l.world.RoundTrip(r.WithContext(context.WithValue(r.Context(), lineKey{}, l)))
	l.awake()
	dies, arrives := l.countCall()
	if dies && l.onCrash != nil {
		l.onCrash(ErrCrashed)
	}

	if !arrives {
		return nil, ErrCrashed
	}

	return answer, err
}

func (l *CrashingClient) isCrashed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crashed
}

// countCall counts a call that was executed. It tells whether the line is cut by it, and whether its answer arrives.
func (l *CrashingClient) countCall() (dies, arrives bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crashed { // it was on its way when the line was cut
		return false, false
	}
	l.calls++
	l.crashed = l.calls == l.crashAfter
	return l.crashed, !l.crashed || !l.responseLost
}

// lineKey is the key of the context of a request, whose value is the line that sent it.
type lineKey struct{}

// lineOf returns the line that sent a request. Nil if another client sent it.
func lineOf(r *http.Request) *CrashingClient {
	sender, _ := r.Context().Value(lineKey{}).(*CrashingClient)
	return sender
}
