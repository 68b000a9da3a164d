// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import "fmt"

// LockImage protects a target's image against deregistration (rule A.2). It stays so.
type LockImage struct {
	Head
	Image    Ref
	Name     string // for messages
	Cooldown bool   // it still holds for a day after it was switched off
}

// Rights of the step.
func (s *LockImage) Rights() []Right {
	return []Right{{"ec2:EnableImageDeregistrationProtection", s.At.image(s.Image.Known), "A.2.1"}, {"ec2:DescribeImages", "*", "A.2.3"}}
}

func (s *LockImage) About() string { return s.Image.Known }

func (s *LockImage) String() string {
	cooldown := ""
	if s.Cooldown {
		cooldown = ", with a cool-down of a day"
	}
	return fmt.Sprintf("protect %q in %s against deregistration%s", s.Name, s.At, cooldown)
}
