// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// stepState is what a step keeps from one attempt to the next.
type stepState struct {
	unconfirmedSince time.Time // time of a call with unknown outcome. Zero if there is none
	polls            int       // number of polls so far
	responseLost     bool      // the response of a call was lost
	resourceID       string    // ID of the created resource
	// snapshots to register the image with, by device. Nil before they are known
	snapshotIDs     map[string]string
	adopting        bool                            // this run has signed an existing resource and not read it back yet
	adopted         bool                            // another run created the resource
	isSigned        bool                            // signed, or signing was denied
	isSigningDenied bool                            // signing was denied
	notes           []distribution.Finding          // findings of a step that went on
	retained        []distribution.RetainedResource // resources that could not be deleted
	changed         bool                            // a change was made and not read back yet
	failedCopy      *copyStatus                     // failed copy to delete
	discardedIDs    []string                        // IDs of earlier copies that failed
	failure         error                           // error that the step ends with after failedCopy is deleted
	quotaErr        error                           // last refusal because of a quota
	missingSince    time.Time                       // since when AWS does not show the expected state. Zero if it does
	isRetryReported bool                            // the user knows why the step is retried
	attempt         step.Attempt                    // of a step that implements step.Attempt
}

// discardCopy forgets a failed copy, so that the next attempt creates another.
func (m *stepState) discardCopy(id string) {
	m.resourceID, m.isSigned, m.adopted = "", false, false
	m.discardedIDs = append(m.discardedIDs, id)
}

// leftovers returns the resources of a step that nothing uses.
func (m stepState) leftovers(at distribution.Location) []distribution.RetainedResource {
	all := slices.Clone(m.retained)
	if m.failedCopy != nil { // the run was stopped before the copy was deleted
		kind, id := m.failedCopy.resource()
		all = append(all, distribution.RetainedResource{At: at, Kind: kind, Resource: id, Why: m.failedCopy.text})
	}
	return all
}
