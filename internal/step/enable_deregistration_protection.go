// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// LockImage protects a target's image against deregistration (rule A.2). It stays so.
type EnableDeregistrationProtection struct {
	Base
	Image    Ref
	Name     string // for messages
	Cooldown bool   // it still holds for a day after it was switched off
}

// Rights of the step.
func (s *EnableDeregistrationProtection) Permissions() []Permission {
	return []Permission{{"ec2:EnableImageDeregistrationProtection", s.Location.ImageARN(s.Image.Known), "A.2.1"}, {"ec2:DescribeImages", "*", "A.2.3"}}
}

func (s *EnableDeregistrationProtection) ResourceID() string { return s.Image.Known }

func (s *EnableDeregistrationProtection) String() string {
	cooldown := ""
	if s.Cooldown {
		cooldown = ", with a cool-down of a day"
	}
	return fmt.Sprintf("protect %q in %s against deregistration%s", s.Name, s.Location, cooldown)
}
