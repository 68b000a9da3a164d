// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
	"time"
)

// DeprecateImage sets the day from which on an image is hidden from other accounts' lists (rule 9.21). It can be launched all the same.
type DeprecateImage struct {
	Base
	Image Ref
	Name  string    // for messages
	After time.Time // UTC, to the minute
}

// Rights of the step.
func (s *DeprecateImage) Permissions() []Permission {
	return []Permission{{"ec2:EnableImageDeprecation", s.Location.ImageARN(s.Image.Known), "9.21"}, {"ec2:DescribeImages", "*", "4.4.1"}}
}

func (s *DeprecateImage) ResourceID() string { return s.Image.Known }

func (s *DeprecateImage) String() string {
	return fmt.Sprintf("deprecate %q in %s from %s on", s.Name, s.Location, s.After.Format(time.RFC3339))
}
