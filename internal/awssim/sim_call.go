// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim/wire"
)

// Call is a request and its handling.
type Call struct {
	ID        string // request ID
	Service   string
	Operation string
	Region    string
	At        time.Time
	DryRun    bool
	In        any // the SDK's input

	caller          *caller                // set by authenticate
	extraParameters map[string]string      // parameters without an exported member in the SDK's input
	authorizations  []AuthorizationRequest // for the recorder
	changedIDs      []string               // IDs of created or changed resources, for the recorder
	rules           []string               // rules that applied, for the recorder
	fault           Fault                  // injected fault
	status          int                    // HTTP status of the response
	errorCode       string                 // empty for success
	bodyDigest      string                 // digest of the request body
	request         *wire.Request
	client          *CrashingClient // sender of the call; nil if another client sent it
	grantIDs        []string        // grants of the grant tokens in the request
	delay           time.Duration   // duration of a pause or late arrival; zero for random
	pause           time.Duration   // how long the client pauses now
	resumed         bool            // the pause or delay has ended
}

// action returns the IAM action, such as "ec2:CopySnapshot".
func (c *Call) action() string { return c.Service + ":" + c.Operation }

// APIError is an error response.
type APIError struct {
	Status  int // HTTP status
	Code    string
	Message string
	Reason  string // of an error of the EBS direct APIs; empty if none
}

func (r *APIError) Error() string { return r.Code + ": " + r.Message }

// newAPIError returns an error response. The status of most EC2 errors is 400. Authorization errors have 403 and dry
// runs 412 (rule A.3.2).
func newAPIError(status int, code, format string, arguments ...any) *APIError {
	return &APIError{Status: status, Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// badRequest returns an error response with status 400.
func badRequest(code, format string, arguments ...any) *APIError {
	return newAPIError(http.StatusBadRequest, code, format, arguments...)
}

// violates reports whether a call violates a rule of AWS. All numbered rules are enforced through it, so it can disable
// and record them.
func (w *World) violates(c *Call, rule string, broken bool) bool {
	if !broken {
		return false
	}
	if !slices.Contains(c.rules, rule) {
		c.rules = append(c.rules, rule)
	}
	return !w.disabledRules[rule]
}
