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

// Record is a call as the recorder keeps it.
type Record struct {
	At             time.Time
	ID             string // of the request
	Principal      string // ARN
	Account        string // the caller's
	Region         string
	Action         string                 // "ec2:CopySnapshot"
	DryRun         bool                   `json:",omitempty"`
	RequestDigest  string                 // digest of the request: equal for equal requests
	Resources      []string               `json:",omitempty"` // ids and ARNs in the request
	Changed        []string               `json:",omitempty"` // ids of what the call made or changed
	Authorizations []AuthorizationRequest `json:",omitempty"` // what was asked of the policies
	Rules          []string               `json:",omitempty"` // rules that bore on the call
	Fault          Fault                  `json:",omitempty"` // what went wrong on purpose
	Status         int                    // HTTP; 0 when no answer arrived
	// code of the refusal, or why no answer arrived; empty for success
	Error string `json:",omitempty"`
}

// Records are calls in the order in which they were executed.
type Records []Record

// Calls are the calls of an action, such as "ec2:CopySnapshot"; the action may end in *.
func (all Records) Calls(action string) Records {
	return all.filter(func(r Record) bool { return matchesAction(action, r.Action) })
}

// ByAccount are the calls of an account.
func (all Records) ByAccount(account string) Records {
	return all.filter(func(r Record) bool { return r.Account == account })
}

// Mutating are the calls that changed something.
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

// recorder keeps calls, or passes them on.
type recorder struct {
	records Records
	sink    func(Record)
	mutations
	counts Counts
}

// WithRecorder hands each call to take, one at a time, instead of keeping it. take must not call the world.
func WithRecorder(take func(Record)) Option {
	return func(w *World) { w.sink = take }
}

// WithRecording writes each call as a line of JSON instead of keeping it.
func WithRecording(out io.Writer) Option {
	writer := json.NewEncoder(out)
	return WithRecorder(func(r Record) { _ = writer.Encode(r) }) // a full disk must not change what the world does
}

// Records are all calls so far.
func (w *World) Records() Records {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.records)
}

// record keeps a call; err says why no answer arrived.
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

// keepRecord keeps a record, or passes it on.
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
