// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package invariant numbers what must hold whatever runs meet (docs/adr/0001-runs-and-ownership.md). A build with the
// tag "switches" can switch one invariant off: a test shows with it that internal/chaos then reports violations. In
// every other build IsOff is constant, and the compiler removes what depends on it.
package invariant

// Invariant is one of the invariants.
type Invariant int

// The invariants.
const (
	Ownership     Invariant = iota + 1 // a run deletes or adopts only its own resources, or those of a run that is over
	Fence                              // no call has an effect after the record of its run has lapsed
	FreshEvidence                      // each deletion, withdrawal and adoption reads record and evidence again
	Evidence                           // a resource that exists cannot acquire the evidence
	Record                             // the record is written before the first creation
	OwnShares                          // every run adds its accounts, also where they have the permission already
	Withdrawal                         // shared permissions are withdrawn only while no other run works
	Names                              // names of images are deterministic
	ReleaseOrder                       // an older release never removes or replaces a newer one
)
