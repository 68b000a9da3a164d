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

// ErrCrashed is the error of a client that has crashed.
var ErrCrashed = errors.New("the line has been cut")

// CrashingClient is an HTTP client of the SDK for one run. It simulates the crash of that run after a number of calls.
// After the crash no call reaches the world and no response reaches the run. The next run needs a client of its own.
type CrashingClient struct {
	world        *World
	crashAfter   int         // number of calls before the crash; zero for never
	responseLost bool        // the last call takes effect, but its response is lost
	onCrash      func(error) // called once, at the crash

	mu      sync.Mutex
	calls   int
	crashed bool

	asleep time.Time // the whole client pauses until then
}

// NewCrashingClient returns a client that crashes after a number of calls. If lost is set, it crashes before the last
// response arrives, otherwise after it. With zero calls it never crashes. The function die may be nil.
func (w *World) NewCrashingClient(calls int, lost bool, die func(error)) *CrashingClient {
	return &CrashingClient{
		world:        w,
		crashAfter:   calls,
		responseLost: lost,
		onCrash:      die,
	}
}

// Calls returns the number of executed calls.
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

	answer, err := l.world.RoundTrip(r.WithContext(context.WithValue(r.Context(), crashingClientKey{}, l)))
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

// countCall counts an executed call. It reports whether the client crashes now and whether the response arrives.
func (l *CrashingClient) countCall() (dies, arrives bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.crashed { // the call was in progress during the crash
		return false, false
	}
	l.calls++
	l.crashed = l.calls == l.crashAfter
	return l.crashed, !l.crashed || !l.responseLost
}

// crashingClientKey is the context key of the client that sent a request.
type crashingClientKey struct{}

// crashingClientOf returns the client that sent a request. Nil if another client sent it.
func crashingClientOf(r *http.Request) *CrashingClient {
	sender, _ := r.Context().Value(crashingClientKey{}).(*CrashingClient)
	return sender
}
