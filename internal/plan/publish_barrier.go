// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// hold makes what is published wait for the proofs of all required destinations, where the request wants that and anything is left to publish.
func (b *builder) addPublishBarrier(goals []destinationState) {
	if !b.req.PublishAll || !slices.ContainsFunc(goals, func(g destinationState) bool {
		return slices.ContainsFunc(
			pointers(b.req, b.facts, g.Destination),
			func(p distribution.Pointer) bool { return !p.Set },
		)
	}) {
		return
	}
	gate := &step.PublishBarrier{Base: step.Base{ID: "publish/all"}}
	for _, g := range goals {
		if !g.Optional {
			gate.DependsOn = append(gate.DependsOn, g.proofs...)
			gate.Destinations++
		}
	}
	if gate.Destinations == 0 {
		return
	}
	b.add(gate)
	for i := range goals {
		goals[i].proofs = append(slices.Clone(goals[i].proofs), gate.ID)
	}
}
