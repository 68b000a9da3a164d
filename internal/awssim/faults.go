// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault is something that goes wrong with a call on purpose.
type Fault string

// The faults. Those before the effect leave everything as it was; after a lost answer nobody but the world knows.
const (
	Throttled      Fault = "throttled"       // refused as RequestLimitExceeded, or what the service says; no effect
	ServerError    Fault = "server-error"    // HTTP 500; no effect
	Unavailable    Fault = "unavailable"     // HTTP 503; no effect
	Reset          Fault = "reset"           // the connection breaks; no effect
	LostAnswer     Fault = "lost-answer"     // the effect, then the connection breaks
	LateError      Fault = "late-error"      // the effect, then HTTP 500
	TornAnswer     Fault = "torn-answer"     // the effect, then half of the answer, and the connection breaks; refusals arrive
	StaleRead      Fault = "stale-read"      // the answer misses what is younger than staleFor (4.4.1)
	ExpiredSession Fault = "expired-session" // the session is over from now on; long-term credentials are spared
	LateFailure    Fault = "late-failure"    // the copy is accepted and fails later; other calls are spared
	LimitReached   Fault = "limit-reached"   // refused with ResourceLimitExceeded, as if more copies were under way (A.3)

	EmptyAnswer Fault = "empty-answer" // the effect, then HTTP 200 with an empty body; refusals arrive
	ProxyAnswer Fault = "proxy-answer" // HTTP 200 with an empty body, from a proxy; no effect
	MissingID   Fault = "missing-id"   // the effect, then an answer without the id of what was created; other calls are spared

	// PauseBeforeSend stops the client between signing and sending, for up to 3 hours.
	PauseBeforeSend Fault = "pause-before-send"
	// PauseAfterAnswer stops the client between the answer and its next instruction, for up to 3 hours.
	PauseAfterAnswer Fault = "pause-after-answer"
	// LateArrival breaks the connection at once, but the request arrives up to 3 hours later.
	LateArrival Fault = "late-arrival"
)

// Faults are all of them.
func Faults() []Fault {
	return []Fault{Throttled, ServerError, Unavailable, Reset, LostAnswer, LateError, TornAnswer, StaleRead, ExpiredSession, LateFailure, LimitReached,
		EmptyAnswer, ProxyAnswer, MissingID, PauseBeforeSend, PauseAfterAnswer, LateArrival}
}

// staleFor is how old a thing is before stale reads know of it (4.4.1).
const staleFor = time.Minute

// errReset is what a client sees of a broken connection.
var errReset = errors.New("read: connection reset by peer")

// Rule chooses calls that meet a fault. What is left empty chooses any call.
type Rule struct {
	Fault     Fault
	Account   string // the caller's
	Principal string // the caller's ARN
	Region    string
	Action    string // "ec2:CopySnapshot"; may end in *
	Resource  string // an id or ARN that the request names
	Nth       int    // the first call that meets the fault, counted among the calls that the rule chooses; 0 is 1
	Times     int    // how many calls meet it; 0: with Nth one, without all

	Delay time.Duration // of a pause or a late arrival; 0: drawn
}

// faults is what goes wrong, by rule and by chance.
type faults struct {
	taggers taggers
	propagationState
	rules []*chosen
	chaos chaos
}

// chosen is a rule and the number of calls it has chosen.
type chosen struct {
	Rule
	seen int
}

type chaos struct {
	share float64
	kinds []Fault
}

// Inject adds a rule. The first rule that applies to a call decides.
func (w *World) Inject(rule Rule) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules = append(w.rules, &chosen{Rule: rule})
}

// WithChaos lets a share of all calls, from 0 to 1, meet a fault of the kinds; without kinds, of those that leave a client
// with a call to repeat or a place to look at. What a call meets depends on the seed and on what it is: principal, Region,
// action, resources, how many-th. It never depends on the order in which calls of others arrive.
func WithChaos(share float64, kinds ...Fault) Option {
	if len(kinds) == 0 {
		kinds = []Fault{Throttled, ServerError, Unavailable, Reset, LostAnswer, LateError, TornAnswer}
	}
	return func(w *World) { w.chaos = chaos{share, kinds} }
}

// chooseFault is what a call shall meet.
func (w *World) chooseFault(c *Call) Fault {
	if len(w.rules) == 0 && w.chaos.share == 0 {
		return ""
	}
	resources := resourcesIn(c.In)
	for _, rule := range w.rules {
		if fault := rule.choose(c, resources); fault != "" {
			c.delay = rule.Delay
			return fault
		}
	}
	if w.chaos.share == 0 {
		return ""
	}
	drawn := w.draw(append([]string{"fault", c.caller.principal.ARN, c.Region, c.action()}, resources...)...)
	if float64(drawn) >= w.chaos.share*math.MaxUint64 {
		return ""
	}
	return w.chaos.kinds[mix(drawn)%uint64(len(w.chaos.kinds))]
}

func (r *chosen) choose(c *Call, resources []string) Fault {
	applies := (r.Account == "" || r.Account == c.caller.principal.Account) &&
		(r.Principal == "" || r.Principal == c.caller.principal.ARN) &&
		(r.Region == "" || r.Region == c.Region) &&
		(r.Action == "" || matchesAction(r.Action, c.action())) &&
		(r.Resource == "" || slices.Contains(resources, r.Resource))
	if !applies {
		return ""
	}
	r.seen++
	first, times := max(r.Nth, 1), r.Times
	if times == 0 {
		times = 1
		if r.Nth == 0 {
			times = math.MaxInt - first
		}
	}
	if r.seen < first || r.seen >= first+times {
		return ""
	}
	return r.Fault
}

// withFaults does a call, or what a fault makes of it.
func (w *World) withFaults(c *Call, execute func() (any, error)) (any, error) {
	if c.resumed {
		return execute()
	}
	c.fault = w.chooseFault(c)
	switch c.fault {
	case PauseBeforeSend:
		return nil, errPaused
	case LateArrival:
		w.deliverLate(c)
		return nil, errReset
	case Throttled:
		return nil, throttled(c)
	case ServerError:
		return nil, serverError(c)
	case Unavailable:
		return nil, refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable. Please try again shortly.")
	case Reset:
		return nil, errReset
	case ProxyAnswer:
		return operations[c.Service][c.Operation].newOutput(), nil
	case ExpiredSession:
		if c.caller.session != nil {
			c.caller.session.expires = c.At
			return nil, expired(c)
		}
	case LimitReached:
		if strings.HasPrefix(c.Operation, "Copy") {
			return nil, invalid("ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is %d for this destination region.", snapshotCopyLimit)
		}
	}
	out, err := execute()
	switch {
	case err != nil:
		return nil, err
	case c.fault == LostAnswer:
		return nil, errReset
	case c.fault == LateError:
		return nil, serverError(c)
	case c.fault == MissingID:
		return withoutIDs(c.Operation, out), nil
	}
	return out, nil
}

// throttled is a service's refusal of a call that comes too fast (4.2.1).
func throttled(c *Call) *Refusal {
	switch c.Service {
	case "ec2":
		return refuse(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	case "iam", "sts":
		return invalid("Throttling", "Rate exceeded")
	case "organizations":
		return invalid("TooManyRequestsException", "You have exceeded the rate for this operation.")
	case "license-manager":
		return invalid("RateLimitExceededException", "Too many requests have been submitted.")
	}
	return invalid("ThrottlingException", "Rate exceeded")
}

// serverError is a service's answer when it breaks.
func serverError(c *Call) *Refusal {
	code := map[string]string{
		"ec2": "InternalError", "kms": "KMSInternalException", "ssm": "InternalServerError", "organizations": "ServiceException", "license-manager": "ServerInternalException",
		"iam": "ServiceFailure", "sts": "InternalFailure",
	}[c.Service]
	return refuse(http.StatusInternalServerError, code, "An internal error has occurred")
}
