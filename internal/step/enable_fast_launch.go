// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// EnableFastLaunch has AWS keep snapshots ready that instances of a Windows image are launched from. AWS makes them afterwards, and goes on to.
type EnableFastLaunch struct {
	Base
	distribution.FastLaunch
	Image Ref
	Name  string // for messages
}

// Rights of the step.
func (s *EnableFastLaunch) Permissions() []Permission {
	rights := []Permission{{"ec2:EnableFastLaunch", s.Location.ImageARN(s.Image.Known), "9.0"}, {"ec2:DescribeFastLaunchImages", "*", "9.0"}}
	if s.TemplateID+s.TemplateName != "" {
		rights = append(rights, Permission{"ec2:EnableFastLaunch", s.Location.OwnedARN("launch-template", s.TemplateID), "9.0"})
	}
	return rights
}

func (s *EnableFastLaunch) ResourceID() string { return s.Image.Known }

func (s *EnableFastLaunch) String() string {
	return fmt.Sprintf("enable fast launch of %q in %s", s.Name, s.Location)
}
