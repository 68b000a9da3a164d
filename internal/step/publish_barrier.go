// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// PublishBarrier implements publish = "all". No image is published before the images of all required destinations
// are verified. It makes no call.
type PublishBarrier struct {
	Base
	Destinations int
}

func (s *PublishBarrier) Permissions() []Permission { return nil }

func (s *PublishBarrier) ResourceID() string { return "" }

func (s *PublishBarrier) String() string {
	if s.Destinations == 1 {
		return "let nothing name an image before that of the required destination is proved"
	}
	return fmt.Sprintf("let nothing name an image before those of all %d required destinations are proved", s.Destinations)
}

func (s *PublishBarrier) Summary() Summary {
	return Summary{Phrase: Phrase{Text: "publish after all required destinations are verified"}}
}

func (s *PublishBarrier) HeldDestinations() int { return s.Destinations }

func (s *PublishBarrier) Result(o Outcome) Result {
	if o.Err == nil {
		return Result{}
	}
	return Result{Findings: []distribution.Finding{{
		Level:       distribution.Note,
		Code:        distribution.CodeNothingPublished,
		Field:       "publish",
		Summary:     "nothing was published",
		Detail:      `publish = "all", and not every required destination has a proved image`,
		Remediation: "resume the run: it keeps what is completed",
	}}}
}

var _ = register(&PublishBarrier{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*PublishBarrier).start(env) },
})

func (s *PublishBarrier) start(Env) Attempt { return publishBarrier{} }

type publishBarrier struct{}

// Do succeeds, because all dependencies have succeeded.
func (publishBarrier) Do(context.Context) (Outcome, error) { return Outcome{}, nil }
