// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// addPublishBarrier makes publishing wait for the verification of all required destinations if publish is "all".
func (b *builder) addPublishBarrier(goals []destinationState) {
	if !b.req.PublishAll || !slices.ContainsFunc(goals, func(g destinationState) bool {
		return slices.ContainsFunc(
			b.pointers(g.Destination),
			func(p distribution.Pointer) bool { return !p.Set && !p.Held },
		)
	}) {
		return
	}

	barrier := &step.PublishBarrier{Base: step.Base{ID: "publish/all"}}
	for _, g := range goals {
		if !g.Optional {
			barrier.DependsOn = append(barrier.DependsOn, g.verifications...)
			barrier.Destinations++
		}
	}

	if barrier.Destinations == 0 {
		return
	}

	b.add(barrier)
	for i := range goals {
		goals[i].verifications = append(slices.Clone(goals[i].verifications), barrier.ID)
	}
}
