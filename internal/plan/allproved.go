// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"
)

// AllProved holds back what points at images until those of all required destinations are proved. It makes no call.
type PublishBarrier struct {
	Base
	Destinations int
}

// Rights of the step: none.
func (s *PublishBarrier) Permissions() []Permission { return nil }

func (s *PublishBarrier) ResourceID() string { return "" }

func (s *PublishBarrier) String() string {
	if s.Destinations == 1 {
		return "let nothing name an image before that of the required destination is proved"
	}
	return fmt.Sprintf("let nothing name an image before those of all %d required destinations are proved", s.Destinations)
}

// hold makes what is published wait for the proofs of all required destinations, where the request wants that and anything is left to publish.
func (b *builder) addPublishBarrier(goals []destinationState) {
	if !b.req.PublishAll || !slices.ContainsFunc(goals, func(g destinationState) bool {
		return slices.ContainsFunc(pointers(b.req, b.facts, g.Destination), func(p Pointer) bool { return !p.Set })
	}) {
		return
	}
	gate := &PublishBarrier{Base: Base{ID: "publish/all"}}
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
