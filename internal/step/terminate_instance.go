// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"fmt"
)

// TerminateInstance terminates the instance of a launch check.
type TerminateInstance struct {
	Base
	Instance    Ref
	ClientToken string // of the launch. It finds the instance if the response was lost
}

func (s *TerminateInstance) Permissions() []Permission {
	return []Permission{
		{"ec2:TerminateInstances", s.Location.OwnedARN("instance", s.Instance.Known), "8.7"},
		{"ec2:DescribeInstances", "*", "8.7"},
	}
}

func (s *TerminateInstance) ResourceID() string { return s.Instance.Known }

func (s *TerminateInstance) String() string {
	if s.Instance.Known != "" {
		return fmt.Sprintf("terminate %s, which an earlier run left, in %s", s.Instance.Known, s.Location)
	}
	return fmt.Sprintf("terminate the instance of the launch check in %s", s.Location)
}
