// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// namedWorlds are the worlds that have a name. Each is built by ordinary AWS calls, so that nothing in it goes round
// the rules.
var namedWorlds = map[string]func(*Builder) error{"demo": buildDemo}

// WorldNames are the names that Furnish takes.
func WorldNames() []string { return slices.Sorted(maps.Keys(namedWorlds)) }

// BuildNamed builds the things of a named world.
func (w *World) BuildNamed(name string) error {
	build, known := namedWorlds[name]
	if !known {
		return fmt.Errorf("no world is named %q; there are %q", name, WorldNames())
	}
	return w.Build(build)
}

// Builder builds things in a world, with a clock of its own that lies in the past: waiting costs no time.
type Builder struct {
	world *World
	now   time.Time
}

// buildAge is how far in the past building begins.
const buildAge = 24 * time.Hour

// Build lets make build things, as of the day before: without latency, limits and faults, and unrecorded. While it
// runs, nobody else may use the world.
func (w *World) Build(make func(*Builder) error) error {
	b := &Builder{world: w, now: w.now().Add(-buildAge)}
	clock, quiet, unlimited, faulty, recording := w.now, w.latencyOff, w.throttlingOff, w.faults, w.recorder
	w.now = func() time.Time { return b.now }
	w.latencyOff = true
	w.throttlingOff = true
	w.faults = faults{}
	w.recorder = recorder{}
	w.anySigningTime = true
	defer func() {
		w.now, w.latencyOff, w.throttlingOff, w.faults, w.recorder = clock, quiet, unlimited, faulty, recording
	}()

	defer func() { w.anySigningTime = false }()
	return make(b)
}

// Config makes SDK clients for building: as an account's root, in a Region.
func (b *Builder) Config(account, region string) aws.Config { return b.world.Config(account, region) }

// Wait lets time go by in the world that is being built.
func (b *Builder) Wait(d time.Duration) { b.now = b.now.Add(d) }
