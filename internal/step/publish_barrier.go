// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
)

// PublishBarrier implements publish = "all": no parameter and no launch template refers to an image before the images
// of all required destinations are verified. It makes no call.
type PublishBarrier struct {
	Base
	Destinations int
}

// Permissions returns nothing.
func (s *PublishBarrier) Permissions() []Permission { return nil }

// ResourceID returns nothing.
func (s *PublishBarrier) ResourceID() string { return "" }

func (s *PublishBarrier) String() string {
	if s.Destinations == 1 {
		return "let nothing name an image before that of the required destination is proved"
	}
	return fmt.Sprintf("let nothing name an image before those of all %d required destinations are proved", s.Destinations)
}

// dryRuns returns nothing.
func (s *PublishBarrier) dryRuns(Env) []DryRun { return nil }

// start returns an attempt.
func (s *PublishBarrier) start(Env) Attempt { return publishBarrier{} }

type publishBarrier struct{}

// Do succeeds: what the barrier depends on has succeeded.
func (publishBarrier) Do(context.Context) (Outcome, error) { return Outcome{}, nil }
