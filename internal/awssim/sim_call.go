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

// Call is one request on its way through the world.
type Call struct {
	ID        string // request id
	Service   string
	Operation string
	Region    string
	At        time.Time
	DryRun    bool
	In        any // the SDK's input

	caller          *caller                // who asks: set by authenticate
	extraParameters map[string]string      // parameters that the SDK's input has no exported member for
	authorizations  []AuthorizationRequest // what authorise was asked: for the recorder
	changedIDs      []string               // ids that the call made or changed: for the recorder
	rules           []string               // rules that bore on the call: for the recorder
	fault           Fault                  // what goes wrong with the call on purpose
	status          int                    // HTTP, of the answer
	errorCode       string                 // code of the refusal
	bodyDigest      string                 // of the request's body
	request         *wire.Request
	line            *CrashingClient // that sent the call
	grantIDs        []string        // of the grant tokens in the request
	delay           time.Duration   // of a pause or a late arrival, as a rule says
	pause           time.Duration   // how long the client pauses now
	resumed         bool            // the pause or the delay is over
}

// action is the call's name in policies, "ec2:CopySnapshot".
func (c *Call) action() string { return c.Service + ":" + c.Operation }

// APIError is an error answer of AWS.
type APIError struct {
	Status  int // HTTP
	Code    string
	Message string
	Reason  string // of an error of the EBS direct APIs; empty for none
}

func (r *APIError) Error() string { return r.Code + ": " + r.Message }

// newAPIError makes a refusal; nearly all of EC2's are HTTP 400, but 403 for authorization and 412 for dry runs
// (A.3.2).
func newAPIError(status int, code, format string, arguments ...any) *APIError {
	return &APIError{Status: status, Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// badRequest is the commonest refusal.
func badRequest(code, format string, arguments ...any) *APIError {
	return newAPIError(http.StatusBadRequest, code, format, arguments...)
}

// violates reports whether a call breaks a rule of AWS. It is the one place where rules are enforced by number, can be
// switched off, and are noted for the recorder.
func (w *World) violates(c *Call, rule string, broken bool) bool {
	if !broken {
		return false
	}
	if !slices.Contains(c.rules, rule) {
		c.rules = append(c.rules, rule)
	}
	return !w.disabledRules[rule]
}
