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

// namedWorlds maps names to builders. A builder uses ordinary AWS calls, so it follows the rules.
var namedWorlds = map[string]func(*Builder) error{"demo": buildDemo}

// WorldNames returns the names that BuildNamed accepts.
func WorldNames() []string { return slices.Sorted(maps.Keys(namedWorlds)) }

// BuildNamed builds a named world.
func (w *World) BuildNamed(name string) error {
	build, known := namedWorlds[name]
	if !known {
		return fmt.Errorf("no world is named %q; there are %q", name, WorldNames())
	}
	return w.Build(build)
}

// Builder builds resources in a world. Its clock lies in the past, so waiting takes no time.
type Builder struct {
	world *World
	now   time.Time
}

// buildAge is how far in the past a build starts.
const buildAge = 24 * time.Hour

// Build calls build to create resources as of the day before, without latency, throttling, faults and recording.
// Meanwhile no other client may use the world.
func (w *World) Build(build func(*Builder) error) error {
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
	return build(b)
}

// Config returns an SDK config for the root user of an account in a Region.
func (b *Builder) Config(account, region string) aws.Config { return b.world.Config(account, region) }

// Wait advances the clock of the build.
func (b *Builder) Wait(d time.Duration) { b.now = b.now.Add(d) }
