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

// Fault is an injected failure of a call.
type Fault string

// Faults. In the comments, "effect" is what the call changes in the world.
const (
	Throttled       Fault = "throttled"        // no effect; the service's throttling error
	ServerError     Fault = "server-error"     // no effect; HTTP 500
	Unavailable     Fault = "unavailable"      // no effect; HTTP 503
	ConnectionReset Fault = "connection-reset" // no effect; the connection breaks
	LostResponse    Fault = "lost-response"    // the effect, then the connection breaks
	LateError       Fault = "late-error"       // the effect, then HTTP 500
	// TruncatedResponse has the effect, then the connection breaks in the middle of the response. Error responses
	// arrive completely.
	TruncatedResponse Fault = "truncated-response"
	StaleRead         Fault = "stale-read"        // misses what is newer than staleReadWindow (rule 4.4.1)
	ExpiredSession    Fault = "expired-session"   // the session expires now; long-term credentials are not affected
	LateCopyFailure   Fault = "late-copy-failure" // the copy is accepted and fails later; only for copies
	// LimitReached refuses a copy with ResourceLimitExceeded, as if more copies were in progress (rule A.3).
	LimitReached Fault = "limit-reached"

	EmptyResponse Fault = "empty-response" // the effect, then HTTP 200 with an empty body; errors arrive
	ProxyResponse Fault = "proxy-response" // no effect; HTTP 200 with an empty body, from a proxy
	// MissingID has the effect, then a response without the ID of what was created. Only for creating calls.
	MissingID Fault = "missing-id"

	// PauseBeforeSend stops the client between signing and sending, for up to 3 hours.
	PauseBeforeSend Fault = "pause-before-send"
	// PauseAfterResponse stops the client after the response, for up to 3 hours.
	PauseAfterResponse Fault = "pause-after-response"
	// LateArrival breaks the connection at once, but the request arrives up to 3 hours later.
	LateArrival Fault = "late-arrival"
	// Silent has no effect. No response arrives before the client gives up.
	Silent Fault = "silent"
)

// Faults returns all faults but Silent, for which a client without a timeout would wait forever.
func Faults() []Fault {
	return []Fault{
		Throttled, ServerError, Unavailable, ConnectionReset, LostResponse, LateError, TruncatedResponse,
		StaleRead, ExpiredSession, LateCopyFailure, LimitReached,
		EmptyResponse, ProxyResponse, MissingID, PauseBeforeSend, PauseAfterResponse, LateArrival,
	}
}

// staleReadWindow is the age below which stale reads miss a resource (rule 4.4.1).
const staleReadWindow = time.Minute

// errSilent ends a call without a response.
var errSilent = errors.New("no response arrives")

// errConnectionReset is what a client sees of a broken connection.
var errConnectionReset = errors.New("read: connection reset by peer")

// FaultRule selects calls for a fault. An empty field selects any call.
type FaultRule struct {
	Fault     Fault
	Account   string // of the caller
	Principal string // ARN of the caller
	Region    string
	Action    string // such as "ec2:CopySnapshot"; may end in *
	Resource  string // ID or ARN in the request
	Nth       int    // first selected call that gets the fault; zero means the first
	Times     int    // number of calls; zero means one if Nth is set, otherwise all

	Delay time.Duration // of a pause or late arrival; zero for random
}

// faults holds the fault rules and the random faults.
type faults struct {
	taggers taggers
	propagationState
	rules []*activeFaultRule
	chaos chaos
}

// activeFaultRule is a rule and the number of calls that it selected.
type activeFaultRule struct {
	FaultRule
	matched int
}

type chaos struct {
	probability float64
	faults      []Fault
}

// Inject adds a rule. The first rule that selects a call applies.
func (w *World) Inject(rule FaultRule) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rules = append(w.rules, &activeFaultRule{FaultRule: rule})
}

// WithChaos injects random faults into a share of all calls, from 0 to 1. The default kinds are those after which a
// client must retry or look up the outcome. The fault of a call depends on the seed, principal, Region, action,
// resources and repetition. It never depends on the order of other callers' calls.
func WithChaos(share float64, kinds ...Fault) Option {
	if len(kinds) == 0 {
		kinds = []Fault{Throttled, ServerError, Unavailable, ConnectionReset, LostResponse, LateError, TruncatedResponse}
	}
	return func(w *World) { w.chaos = chaos{share, kinds} }
}

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

// executeWithFaults executes a call with its fault.
func (w *World) executeWithFaults(c *Call, execute func() (any, error)) (any, error) {
	if c.resumed {
		return execute()
	}

	c.fault = w.chooseFault(c)
	if out, err := w.failBeforeEffect(c); out != nil || err != nil {
		return out, err
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

// failBeforeEffect returns the response or error of a fault without effect. Both are nil for other faults.
func (w *World) failBeforeEffect(c *Call) (any, error) {
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
	case Silent:
		return nil, errSilent
	case ProxyResponse:
		return operations[c.Service][c.Operation].newOutput(), nil
	case ExpiredSession:
		if c.caller.session != nil {
			c.caller.session.expires = c.At
			return nil, expiredTokenError(c)
		}
	case LimitReached:
		if strings.HasPrefix(c.Operation, "Copy") {
			return nil, w.copyQuotaExceeded("snapshot", defaultSnapshotCopyQuota)
		}
	}

	return nil, nil
}

// throttlingError returns the service's throttling error (rule 4.2.1).
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

// serverError returns the service's internal error.
func serverError(c *Call) *APIError {
	code := map[string]string{
		"ec2": "InternalError", "kms": "KMSInternalException", "ssm": "InternalServerError",
		"organizations": "ServiceException", "license-manager": "ServerInternalException",
		"ebs": "InternalServerException",
		"iam": "ServiceFailure", "sts": "InternalFailure",
	}[c.Service]
	return newAPIError(http.StatusInternalServerError, code, "An internal error has occurred")
}
