// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"
	"time"
)

// Mutation is a mutating call that succeeded in AWS, whether or not its response arrives.
type Mutation struct {
	Action    string          // such as "ec2:CopySnapshot"
	Account   string          // the caller's
	Principal string          // ARN
	Session   string          // name of the caller's session; empty for long-term credentials
	Client    *CrashingClient // sender of the call; nil if another client sent it
	Region    string
	At        time.Time // of AWS's clock
	SignedAt  time.Time // as the request says
	Input     any       // the SDK's input, such as *ec2.CopySnapshotInput
	Output    any       // the SDK's output before faults
	Changed   []string  // ids of what the call created or changed; empty if it had no effect
	Fault     Fault     // injected fault

	Before, After View
}

// mutations holds the functions that see mutating calls.
type mutations struct {
	observers []func(Mutation)
}

// OnMutation calls see after each mutating call that succeeded, one at a time. The function must neither call the world
// nor keep Before and After, which read the world's current state.
func (w *World) OnMutation(see func(Mutation)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observers = append(w.observers, see)
}

// readingVerbs start the names of operations without a lasting effect, including those of KMS that encrypt or decrypt.
var readingVerbs = []string{
	"Describe", "Get", "List", "Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "AssumeRole",
}

// isMutating reports whether an operation may have a lasting effect.
func isMutating(operation string) bool {
	return !slices.ContainsFunc(readingVerbs, func(verb string) bool { return strings.HasPrefix(operation, verb) })
}

// executeObserved executes a call and reports it to the observers.
func (w *World) executeObserved(c *Call, operation operation) (any, error) {
	if !isMutating(c.Operation) {
		return operation.do(w, c, c.In)
	}

	var before View
	if len(w.observers) > 0 {
		before = w.viewBefore(c)
	}

	out, err := operation.do(w, c, c.In)
	if err != nil {
		return nil, err
	}

	w.counts.Mutations++
	if len(w.observers) > 0 {
		w.notify(c, before, out)
	}

	return out, nil
}

// notify calls the observers of a mutating call that succeeded.
func (w *World) notify(c *Call, before View, out any) {
	for _, id := range c.changedIDs {
		before.exclude(id)
	}

	seen := Mutation{
		Action:    c.action(),
		Account:   c.caller.principal.Account,
		Principal: c.caller.principal.ARN,
		Client:    c.client,
		Region:    c.Region,
		At:        c.At,
		SignedAt:  c.request.SignedAt,
		Input:     c.In,
		Output:    out,
		Changed:   slices.Clone(c.changedIDs),
		Fault:     c.fault,
		Before:    before,
		After:     View{world: w, at: c.At},
	}

	if c.caller.session != nil {
		seen.Session = c.caller.session.name
	}

	for _, see := range w.observers {
		see(seen)
	}
}

// viewBefore copies the resources in a request and their parts: the snapshots of an image, the volumes of an instance
// and the grants on a key. A call changes nothing else.
func (w *World) viewBefore(c *Call) View {
	v := View{
		world:     w,
		at:        c.At,
		resources: map[string]*Resource{},
		grants:    map[string]*Grant{},
	}

	for _, id := range resourcesIn(c.In) {
		found := v.keep(id)
		if found == nil {
			continue
		}
		for _, part := range slices.Concat(found.Snapshots, found.Volumes) {
			v.keep(part)
		}
	}

	if c.Service == "kms" {
		v.keepGrants()
	}

	return v
}

// keep copies a resource. It returns nil if there is none.
func (v View) keep(id string) *Resource {
	found, ok := v.world.resource(id, v.at)
	if !ok {
		return nil
	}
	v.resources[id] = &found
	return &found
}

// keepGrants copies all grants, because a call may name a grant by its token, from which its ID is unknown.
func (v View) keepGrants() {
	for _, key := range v.world.keys.all {
		for id, found := range key.grants.all {
			seen := grantView(key, found)
			v.grants[id] = &seen
		}
	}
}

// exclude notes that an ID did not exist unless it was kept.
func (v View) exclude(id string) {
	if _, kept := v.resources[id]; !kept {
		v.resources[id] = nil
	}
	if _, kept := v.grants[id]; !kept {
		v.grants[id] = nil
	}
}
