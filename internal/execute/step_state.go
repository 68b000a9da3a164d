// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// memo is what a step remembers from one call of its act to the next.
type stepState struct {
	unconfirmedSince time.Time                       // when a call was made of which nobody knows the effect; zero: none was
	polls            int                             // how often its effect was looked for
	responseLost     bool                            // such a call was made at some time
	resourceID       string                          // id of what the step made
	snapshotIDs      map[string]string               // device -> snapshot to register with; nil: not looked for yet
	adopting         bool                            // it is signed for this run, and was not read back yet
	adopted          bool                            // what was made is another run's
	isSigned         bool                            // it has its signature, or cannot get it
	isSigningDenied  bool                            // it cannot get it
	notes            []distribution.Finding          // what is worth telling although the step went on
	retained         []distribution.RetainedResource // what could not be removed
	changed          bool                            // a change was made that is to be read back
	failedCopy       *copyStatus                     // a copy that failed and has to go
	discardedIDs     []string                        // ids of earlier copies that failed
	failure          error                           // what the step ends with once broken is gone
	quotaErr         error                           // why AWS had no room for it, at last
	missingSince     time.Time                       // since when something is not there that should be; zero: it is
	isRetryReported  bool                            // the user knows why the step is retried
	attempt          step.Attempt                    // of a step that executes itself
}

// throw forgets a copy that came to nothing.
func (m *stepState) discardCopy(id string) {
	m.resourceID, m.isSigned, m.adopted = "", false, false
	m.discardedIDs = append(m.discardedIDs, id)
}

// leftovers are what a step leaves behind that nobody uses.
func (m stepState) leftovers(at distribution.Location) []distribution.RetainedResource {
	all := slices.Clone(m.retained)
	if m.failedCopy != nil { // the run was stopped before it was removed
		kind, id := m.failedCopy.resource()
		all = append(all, distribution.RetainedResource{At: at, Kind: kind, Resource: id, Why: m.failedCopy.text})
	}
	return all
}
