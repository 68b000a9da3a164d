// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package invariant lists the invariants that every run must keep (docs/adr/0001-runs-and-ownership.md). A build with
// the tag "switches" can switch one of them off. A test then shows that internal/chaos reports the violations. In every
// other build IsOff is constant, and the compiler removes the code that depends on it.
package invariant

// Invariant is one of the invariants.
type Invariant int

// The invariants.
const (
	Ownership     Invariant = iota + 1 // a run deletes or adopts only its own resources, or those of an ended run
	Fence                              // no call has an effect after the record of its run has lapsed
	FreshEvidence                      // each deletion, withdrawal and adoption reads record and evidence again
	Evidence                           // a resource that exists cannot acquire the evidence
	Record                             // the record is written before the first creation
	OwnShares                          // every run adds permissions for its accounts, even if they already have them
	Withdrawal                         // shared permissions are removed only while no other run is active
	Names                              // names of images are deterministic
	ReleaseOrder                       // an older release never removes or replaces a newer one
)
