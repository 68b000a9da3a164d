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
	Throttled       Fault = "throttled"    // refused as RequestLimitExceeded, or what the service says; no effect
	ServerError     Fault = "server-error" // HTTP 500; no effect
	Unavailable     Fault = "unavailable"  // HTTP 503; no effect
	ConnectionReset Fault = "reset"        // the connection breaks; no effect
	LostResponse    Fault = "lost-answer"  // the effect, then the connection breaks
	LateError       Fault = "late-error"   // the effect, then HTTP 500
	// the effect, then half of the answer, and the connection breaks; refusals arrive
	TruncatedResponse Fault = "torn-answer"
	StaleRead         Fault = "stale-read"      // the answer misses what is younger than staleFor (4.4.1)
	ExpiredSession    Fault = "expired-session" // the session is over from now on; long-term credentials are spared
	LateCopyFailure   Fault = "late-failure"    // the copy is accepted and fails later; other calls are spared
	// refused with ResourceLimitExceeded, as if more copies were under way (A.3)
	LimitReached Fault = "limit-reached"

	EmptyResponse Fault = "empty-answer" // the effect, then HTTP 200 with an empty body; refusals arrive
	ProxyResponse Fault = "proxy-answer" // HTTP 200 with an empty body, from a proxy; no effect
	// the effect, then an answer without the id of what was created; other calls are spared
	MissingID Fault = "missing-id"

	// PauseBeforeSend stops the client between signing and sending, for up to 3 hours.
	PauseBeforeSend Fault = "pause-before-send"
	// PauseAfterResponse stops the client between the answer and its next instruction, for up to 3 hours.
	PauseAfterResponse Fault = "pause-after-answer"
	// LateArrival breaks the connection at once, but the request arrives up to 3 hours later.
	LateArrival Fault = "late-arrival"
)

// Faults are all of them.
func Faults() []Fault {
	return []Fault{
		Throttled, ServerError, Unavailable, ConnectionReset, LostResponse, LateError, TruncatedResponse,
		StaleRead, ExpiredSession, LateCopyFailure, LimitReached,
		EmptyResponse, ProxyResponse, MissingID, PauseBeforeSend, PauseAfterResponse, LateArrival,
	}
}

// staleReadWindow is how old a thing is before stale reads know of it (4.4.1).
const staleReadWindow = time.Minute

// errConnectionReset is what a client sees of a broken connection.
var errConnectionReset = errors.New("read: connection reset by peer")

// FaultRule chooses calls that meet a fault. What is left empty chooses any call.
type FaultRule struct {
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
	rules []*activeFaultRule
	chaos chaos
}

// activeFaultRule is a rule and the number of calls it has chosen.
type activeFaultRule struct {
	FaultRule
	matched int
}

type chaos struct {
	probability float64
	faults      []Fault
}

// Inject adds a rule. The first rule that applies to a call decides.
func (w *World) Inject(rule FaultRule) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules = append(w.rules, &activeFaultRule{FaultRule: rule})
}

// WithChaos lets a share of all calls, from 0 to 1, meet a fault of the kinds; without kinds, of those that leave a
// client with a call to repeat or a place to look at. What a call meets depends on the seed and on what it is:
// principal, Region, action, resources, how many-th. It never depends on the order in which calls of others arrive.
func WithChaos(share float64, kinds ...Fault) Option {
	if len(kinds) == 0 {
		kinds = []Fault{Throttled, ServerError, Unavailable, ConnectionReset, LostResponse, LateError, TruncatedResponse}
	}
	return func(w *World) { w.chaos = chaos{share, kinds} }
}

// chooseFault is what a call shall meet.
func (w *World) chooseFault(c *Call) Fault {
	if len(w.rules) == 0 && w.chaos.probability == 0 {
		return ""
	}

	resources := resourcesIn(c.In)
	for _, rule := range w.rules {
		if fault := rule.match(c, resources); fault != "" {
			c.delay = rule.Delay
			return fault
		}
	}

	if w.chaos.probability == 0 {
		return ""
	}

	drawn := w.random(append([]string{"fault", c.caller.principal.ARN, c.Region, c.action()}, resources...)...)
	if float64(drawn) >= w.chaos.probability*math.MaxUint64 {
		return ""
	}

	return w.chaos.faults[mixBits(drawn)%uint64(len(w.chaos.faults))]
}

func (r *activeFaultRule) match(c *Call, resources []string) Fault {
	applies := (r.Account == "" || r.Account == c.caller.principal.Account) &&
		(r.Principal == "" || r.Principal == c.caller.principal.ARN) &&
		(r.Region == "" || r.Region == c.Region) &&
		(r.Action == "" || matchesAction(r.Action, c.action())) &&
		(r.Resource == "" || slices.Contains(resources, r.Resource))
	if !applies {
		return ""
	}

	r.matched++
	first, times := max(r.Nth, 1), r.Times
	if times == 0 {
		times = 1
		if r.Nth == 0 {
			times = math.MaxInt - first
		}
	}

	if r.matched < first || r.matched >= first+times {
		return ""
	}

	return r.Fault
}

// executeWithFaults does a call, or what a fault makes of it.
func (w *World) executeWithFaults(c *Call, execute func() (any, error)) (any, error) {
	if c.resumed {
		return execute()
	}

	c.fault = w.chooseFault(c)
	switch c.fault {
	case PauseBeforeSend:
		return nil, errPaused
	case LateArrival:
		w.deliverLate(c)
		return nil, errConnectionReset
	case Throttled:
		return nil, throttlingError(c)
	case ServerError:
		return nil, serverError(c)
	case Unavailable:
		return nil, newAPIError(
			http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable. Please try again shortly.",
		)
	case ConnectionReset:
		return nil, errConnectionReset
	case ProxyResponse:
		return operations[c.Service][c.Operation].newOutput(), nil
	case ExpiredSession:
		if c.caller.session != nil {
			c.caller.session.expires = c.At
			return nil, expiredTokenError(c)
		}
	case LimitReached:
		if strings.HasPrefix(c.Operation, "Copy") {
			return nil, badRequest(
				"ResourceLimitExceeded", "Too many snapshot copies in progress. The limit is %d for this destination region.",
				defaultSnapshotCopyQuota,
			)
		}
	}

	out, err := execute()
	switch {
	case err != nil:
		return nil, err
	case c.fault == LostResponse:
		return nil, errConnectionReset
	case c.fault == LateError:
		return nil, serverError(c)
	case c.fault == MissingID:
		return withoutIDs(c.Operation, out), nil
	}

	return out, nil
}

// throttlingError is a service's refusal of a call that comes too fast (4.2.1).
func throttlingError(c *Call) *APIError {
	switch c.Service {
	case "ec2":
		return newAPIError(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	case "iam", "sts":
		return badRequest("Throttling", "Rate exceeded")
	case "ebs":
		return badRequest(
			"RequestThrottledException",
			"The number of API requests has exceeded the maximum allowed API request throttling limit.",
		)
	case "organizations":
		return badRequest("TooManyRequestsException", "You have exceeded the rate for this operation.")
	case "license-manager":
		return badRequest("RateLimitExceededException", "Too many requests have been submitted.")
	}

	return badRequest("ThrottlingException", "Rate exceeded")
}

// serverError is a service's answer when it breaks.
func serverError(c *Call) *APIError {
	code := map[string]string{
		"ec2": "InternalError", "kms": "KMSInternalException", "ssm": "InternalServerError",
		"organizations": "ServiceException", "license-manager": "ServerInternalException",
		"ebs": "InternalServerException",
		"iam": "ServiceFailure", "sts": "InternalFailure",
	}[c.Service]
	return newAPIError(http.StatusInternalServerError, code, "An internal error has occurred")
}
