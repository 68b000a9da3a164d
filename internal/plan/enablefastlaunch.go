// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import "fmt"

// FastLaunch asks for snapshots that Windows instances are launched from, made before they are needed (9.0: EnableFastLaunch).
type FastLaunch struct {
	TemplateID, TemplateName string // of the launch template that AWS makes the snapshots with; both "": AWS's own
	TemplateVersion          int    // of it
	MaxParallelLaunches      int    // at least 6; 0: AWS's default
	TargetResourceCount      int    // snapshots to keep ready; 0: AWS's default
}

// EnableFastLaunch has AWS keep snapshots ready that instances of a Windows image are launched from. AWS makes them afterwards, and goes on to.
type EnableFastLaunch struct {
	Base
	FastLaunch
	Image Ref
	Name  string // for messages
}

// Rights of the step.
func (s *EnableFastLaunch) Permissions() []Permission {
	rights := []Permission{{"ec2:EnableFastLaunch", s.Location.image(s.Image.Known), "9.0"}, {"ec2:DescribeFastLaunchImages", "*", "9.0"}}
	if s.TemplateID+s.TemplateName != "" {
		rights = append(rights, Permission{"ec2:EnableFastLaunch", s.Location.owned("launch-template", s.TemplateID), "9.0"})
	}
	return rights
}

func (s *EnableFastLaunch) ResourceID() string { return s.Image.Known }

func (s *EnableFastLaunch) String() string {
	return fmt.Sprintf("enable fast launch of %q in %s", s.Name, s.Location)
}
