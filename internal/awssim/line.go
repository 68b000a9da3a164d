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

// ErrCut is what a client sees on a line that has been cut.
var ErrCut = errors.New("the line has been cut")

// Line is one run's way to a world, an HTTP client of the SDK. Cut after a call, it is that run's death: nothing of the run reaches
// the world any more, and no answer reaches the run. The next run takes a line of its own.
type Line struct {
	world *World
	last  int         // the call after which the line is cut; 0: never
	lost  bool        // the answer of that call does not arrive
	die   func(error) // told once, when the line is cut

	mu    sync.Mutex
	calls int
	dead  bool

	asleep time.Time // the whole client pauses until then
}

// Line makes a way to the world that is cut after a number of calls: right after the effect of the last one if its answer is to be
// lost, else after the answer. Zero calls make a line that is never cut. Die may be nil.
func (w *World) Line(calls int, lost bool, die func(error)) *Line {
	return &Line{world: w, last: calls, lost: lost, die: die}
}

// Calls are the calls that were executed for the line.
func (l *Line) Calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// Do sends a request.
func (l *Line) Do(r *http.Request) (*http.Response, error) { return l.RoundTrip(r) }

// RoundTrip sends a request.
func (l *Line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.awake()
	if l.cut() {
		return nil, ErrCut
	}
	answer, err := l.world.RoundTrip(r.WithContext(context.WithValue(r.Context(), lineKey{}, l)))
	l.awake()
	dies, arrives := l.count()
	if dies && l.die != nil {
		l.die(ErrCut)
	}
	if !arrives {
		return nil, ErrCut
	}
	return answer, err
}

func (l *Line) cut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// count counts a call that was executed. It tells whether the line is cut by it, and whether its answer arrives.
func (l *Line) count() (dies, arrives bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead { // it was on its way when the line was cut
		return false, false
	}
	l.calls++
	l.dead = l.calls == l.last
	return l.dead, !l.dead || !l.lost
}

// lineKey is the key of the context of a request, whose value is the line that sent it.
type lineKey struct{}

// lineOf returns the line that sent a request. Nil if another client sent it.
func lineOf(r *http.Request) *Line {
	sender, _ := r.Context().Value(lineKey{}).(*Line)
	return sender
}
