// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package distribution

import (
	"slices"
	"strings"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Audience is who may launch an image: accounts, organizations, organizational units (rule 2.2.4). Each sorted.
type LaunchPermissions struct {
	Accounts      []string
	Organizations []string // ARNs
	Units         []string // ARNs
}

// AudienceOf reads launch permissions. That everybody may launch is not among them.
func NewLaunchPermissions(permissions []ec2types.LaunchPermission) LaunchPermissions {
	var a LaunchPermissions
	for _, p := range permissions {
		switch {
		case p.UserId != nil:
			a.Accounts = append(a.Accounts, *p.UserId)
		case p.OrganizationArn != nil:
			a.Organizations = append(a.Organizations, *p.OrganizationArn)
		case p.OrganizationalUnitArn != nil:
			a.Units = append(a.Units, *p.OrganizationalUnitArn)
		}
	}
	return a.And(LaunchPermissions{})
}

// Nobody reports an empty audience.
func (a LaunchPermissions) IsEmpty() bool {
	return len(a.Accounts)+len(a.Organizations)+len(a.Units) == 0
}

// Size is how many of the 1,000 entities that an image can be shared with an audience takes (2.2.5).
func (a LaunchPermissions) Size() int { return len(a.Accounts) + len(a.Organizations) + len(a.Units) }

// And is both audiences, sorted, each member once.
func (a LaunchPermissions) And(b LaunchPermissions) LaunchPermissions {
	return LaunchPermissions{Union(a.Accounts, b.Accounts), Union(a.Organizations, b.Organizations), Union(a.Units, b.Units)}
}

// Without is an audience but for the members of another.
func (a LaunchPermissions) Without(b LaunchPermissions) LaunchPermissions {
	return LaunchPermissions{Without(a.Accounts, b.Accounts), Without(a.Organizations, b.Organizations), Without(a.Units, b.Units)}
}

func (a LaunchPermissions) String() string {
	return strings.Join(slices.Concat(a.Accounts, a.Organizations, a.Units), ", ")
}

func Union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

func Without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(one string) bool { return slices.Contains(b, one) })
}
