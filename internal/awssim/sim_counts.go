// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import "maps"

// Counts holds the numbers of events in a world, so that a test can prove that the intended events occurred.
type Counts struct {
	Calls     int
	Mutations int           // mutating calls that succeeded
	Faults    map[Fault]int // calls by fault
	Pauses    int           // pauses of clients

	ForeignTags int // tags that automations wrote (WithTagger)
}

// Counts returns what happened so far. The calls that built the world are not counted.
func (w *World) Counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	counts := w.counts
	counts.Faults = maps.Clone(counts.Faults)
	return counts
}

// count counts a finished call.
func (w *World) count(c *Call) {
	w.counts.Calls++
	if c.fault == "" {
		return
	}
	if w.counts.Faults == nil {
		w.counts.Faults = map[Fault]int{}
	}
	w.counts.Faults[c.fault]++
}
