// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import "github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"

// Assessment is what is known about a run: what was asked for, what exists, and what derives from the two. All
// decisions are its methods, so that none of them derives twice.
type Assessment struct {
	req   distribution.Request
	facts distribution.Facts
}

// Assess returns the assessment of a request and facts.
func Assess(req distribution.Request, facts distribution.Facts) *Assessment {
	return &Assessment{req: req, facts: facts}
}

// with returns the assessment of the same request with other facts.
func (a *Assessment) with(facts distribution.Facts) *Assessment { return Assess(a.req, facts) }
