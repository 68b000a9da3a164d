// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"

// Assessment is what is known about a run: what was asked for, what exists, and what derives from the two. All
// decisions are its methods, so that none of them derives twice.
type Assessment struct {
	req      distribution.Request
	facts    distribution.Facts
	existing map[destinationKey]existingImages // of the destinations that were asked for
}

// destinationKey identifies a destination and the image that it gets.
type destinationKey struct {
	target string
	at     distribution.Location
	from   string
}

// Assess returns the assessment of a request and facts.
func Assess(req distribution.Request, facts distribution.Facts) *Assessment {
	facts.Images = withWatermarks(req, facts)
	return &Assessment{req: req, facts: facts, existing: map[destinationKey]existingImages{}}
}

// with returns the assessment of the same request with other facts.
func (a *Assessment) with(facts distribution.Facts) *Assessment { return Assess(a.req, facts) }
