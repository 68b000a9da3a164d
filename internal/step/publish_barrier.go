// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
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
