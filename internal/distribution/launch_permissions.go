// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"slices"
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// LaunchPermissions holds the accounts, organizations and organizational units that may launch an image (rule 2.2.4).
// Each list is sorted.
type LaunchPermissions struct {
	Accounts      []string
	Organizations []string // ARNs
	Units         []string // ARNs
}

// NewLaunchPermissions returns launch permissions from those of EC2. It ignores public access.
func NewLaunchPermissions(permissions []ec2types.LaunchPermission) LaunchPermissions {
	var l LaunchPermissions
	for _, p := range permissions {
		switch {
		case p.UserId != nil:
			l.Accounts = append(l.Accounts, *p.UserId)
		case p.OrganizationArn != nil:
			l.Organizations = append(l.Organizations, *p.OrganizationArn)
		case p.OrganizationalUnitArn != nil:
			l.Units = append(l.Units, *p.OrganizationalUnitArn)
		}
	}
	return l.And(LaunchPermissions{})
}

// IsEmpty reports whether there are no launch permissions.
func (l LaunchPermissions) IsEmpty() bool {
	return len(l.Accounts)+len(l.Organizations)+len(l.Units) == 0
}

// Size returns how many launch permissions there are. AWS allows 1,000 for an image (2.2.5).
func (l LaunchPermissions) Size() int { return len(l.Accounts) + len(l.Organizations) + len(l.Units) }

// And returns the launch permissions of both, sorted and without duplicates.
func (l LaunchPermissions) And(others LaunchPermissions) LaunchPermissions {
	return LaunchPermissions{
		Union(l.Accounts, others.Accounts),
		Union(l.Organizations, others.Organizations),
		Union(l.Units, others.Units),
	}
}

// Without returns the launch permissions that are not in others.
func (l LaunchPermissions) Without(others LaunchPermissions) LaunchPermissions {
	return LaunchPermissions{
		Without(l.Accounts, others.Accounts),
		Without(l.Organizations, others.Organizations),
		Without(l.Units, others.Units),
	}
}

func (l LaunchPermissions) String() string {
	return strings.Join(slices.Concat(l.Accounts, l.Organizations, l.Units), ", ")
}

// Union returns the elements of both lists, sorted and without duplicates.
func Union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// Without returns the elements of a that are not in b.
func Without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
