// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Record is a recorded call.
type Record struct {
	At             time.Time
	ID             string // request ID
	Principal      string // ARN of the caller
	Account        string // of the caller
	Region         string
	Action         string                 // such as "ec2:CopySnapshot"
	DryRun         bool                   `json:",omitempty"`
	RequestDigest  string                 // equal for equal requests
	Resources      []string               `json:",omitempty"` // IDs and ARNs in the request
	Changed        []string               `json:",omitempty"` // IDs of created or changed resources
	Authorizations []AuthorizationRequest `json:",omitempty"`
	Rules          []string               `json:",omitempty"` // rules that applied
	Fault          Fault                  `json:",omitempty"` // injected fault
	Status         int                    // HTTP status; zero if no response arrived
	// Error is the error code, or why no response arrived. Empty for success.
	Error string `json:",omitempty"`
}

// Records are calls in the order of their execution.
type Records []Record

// Calls returns the calls of an action, such as "ec2:CopySnapshot". The action may end in *.
func (all Records) Calls(action string) Records {
	return all.filter(func(r Record) bool { return matchesAction(action, r.Action) })
}

// ByAccount returns the calls of an account.
func (all Records) ByAccount(account string) Records {
	return all.filter(func(r Record) bool { return r.Account == account })
}

// Mutating returns the calls that changed something.
func (all Records) Mutating() Records {
	return all.filter(func(r Record) bool { return len(r.Changed) > 0 })
}

func (all Records) filter(keep func(Record) bool) (kept Records) {
	for _, r := range all {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

func matchesAction(pattern, action string) bool {
	prefix, open := strings.CutSuffix(pattern, "*")
	return pattern == action || open && strings.HasPrefix(action, prefix)
}

// recorder keeps records or passes them on.
type recorder struct {
	records Records
	sink    func(Record)
	mutations
	counts Counts
}

// WithRecorder calls take with each record, one at a time, instead of keeping it. The function must not call the world.
func WithRecorder(take func(Record)) Option {
	return func(w *World) { w.sink = take }
}

// WithRecording writes each record as a line of JSON instead of keeping it.
func WithRecording(out io.Writer) Option {
	writer := json.NewEncoder(out)
	return WithRecorder(func(r Record) { _ = writer.Encode(r) }) // a full disk must not change the world's behavior
}

// Records returns all calls so far.
func (w *World) Records() Records {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.records)
}

// record records a call. The error says why no response arrived.
func (w *World) record(c *Call, err error) {
	w.count(c)
	r := Record{
		At:             c.At,
		ID:             c.ID,
		Region:         c.Region,
		Action:         c.action(),
		DryRun:         c.DryRun,
		RequestDigest:  c.bodyDigest,
		Resources:      resourcesIn(c.In),
		Changed:        c.changedIDs,
		Authorizations: c.authorizations,
		Rules:          c.rules,
		Fault:          c.fault,
		Status:         c.status,
		Error:          c.errorCode,
	}

	if c.caller != nil {
		r.Principal, r.Account = c.caller.principal.ARN, c.caller.principal.Account
	}
	if err != nil {
		r.Status, r.Error = 0, err.Error()
	}

	w.keepRecord(r)
}

// keepRecord keeps a record or passes it on.
func (w *World) keepRecord(r Record) {
	if w.sink != nil {
		w.sink(r)
		return
	}
	w.records = append(w.records, r)
}

func newRequestID(drawn uint64) string {
	return fmt.Sprintf(
		"%08x-%04x-4%03x-a%03x-%012x", uint32(drawn>>32), uint16(drawn>>16), drawn&0xfff, drawn>>52, mixBits(drawn)>>16,
	)
}
