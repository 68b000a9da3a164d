// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"math"
	"runtime/debug"
	"testing"
)

// The memory limit grows with the destinations of the plan, and is removed at the end of a run.
func TestMemoryLimit_growsWithDestinations(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	for destinations, want := range map[int]int64{1: 100 << 20, 1000: 100 << 20, 2500: 100<<20 + 1500*32<<10} {
		remove := limitMemory()
		raiseMemoryLimit(destinations)
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("%d destinations: got a limit of %d bytes, want %d", destinations, got, want)
		}
		remove()
		if got := debug.SetMemoryLimit(-1); got != math.MaxInt64 {
			t.Errorf("%d destinations: got a limit of %d bytes after the run, want none", destinations, got)
		}
	}
}

// A limit of the environment variable GOMEMLIMIT stays.
func TestMemoryLimit_ofEnvironment(t *testing.T) {
	const ofEnvironment = 200 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(ofEnvironment))
	defer limitMemory()()
	raiseMemoryLimit(10_000)
	if got := debug.SetMemoryLimit(-1); got != ofEnvironment {
		t.Errorf("got a limit of %d bytes, want %d", got, ofEnvironment)
	}
}
