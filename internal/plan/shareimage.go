// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
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
func AudienceOf(permissions []ec2types.LaunchPermission) LaunchPermissions {
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
func (a LaunchPermissions) Nobody() bool {
	return len(a.Accounts)+len(a.Organizations)+len(a.Units) == 0
}

// Size is how many of the 1,000 entities that an image can be shared with an audience takes (2.2.5).
func (a LaunchPermissions) Size() int { return len(a.Accounts) + len(a.Organizations) + len(a.Units) }

// And is both audiences, sorted, each member once.
func (a LaunchPermissions) And(b LaunchPermissions) LaunchPermissions {
	return LaunchPermissions{union(a.Accounts, b.Accounts), union(a.Organizations, b.Organizations), union(a.Units, b.Units)}
}

// Without is an audience but for the members of another.
func (a LaunchPermissions) Without(b LaunchPermissions) LaunchPermissions {
	return LaunchPermissions{without(a.Accounts, b.Accounts), without(a.Organizations, b.Organizations), without(a.Units, b.Units)}
}

func (a LaunchPermissions) String() string {
	return strings.Join(slices.Concat(a.Accounts, a.Organizations, a.Units), ", ")
}

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(one string) bool { return slices.Contains(b, one) })
}

// ShareImage lets others launch an image (rules 2.2.1, 2.2.4), and copy it, where its snapshots are shared as well (2.2.8). Undone by
// WithdrawImageShare.
type ShareImage struct {
	Base
	Image    Ref
	With     LaunchPermissions
	Remember map[string]string // tags for the image before anything else: which accounts might launch it already, or that it stays; nil: none
	Lasting  bool              // asked for by share blocks: it is the result, and stays
}

// Rights of the step.
func (s *ShareImage) Permissions() []Permission {
	rights := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.image(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.image(s.Image.Known), "4.4.2"},
	}
	if s.Remember != nil {
		rights = append(rights, Permission{"ec2:CreateTags", s.Location.image(s.Image.Known), "2.2.4"})
	}
	return rights
}

func (s *ShareImage) ResourceID() string { return s.Image.Known }

func (s *ShareImage) String() string {
	return fmt.Sprintf("let %s launch %s in %s", s.With, s.Image.image(), s.Location.Region)
}

// WithdrawImageShare takes the launch permission of accounts away again, once no copy needs it.
type UnshareImage struct {
	Base
	Image    Ref
	Accounts []string // sorted; never one that had the permission before; none where only Forget is left to do
	Forget   bool     // take away the tags of ShareImage.Remember afterwards
}

// Spares reports that accounts which the image's tags remember by then keep the permission: a run may have given it to them for good meanwhile.
func (s *UnshareImage) Spares() bool { return s.Image.Known != "" }

// Rights of the step.
func (s *UnshareImage) Permissions() []Permission {
	rights := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.image(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.image(s.Image.Known), "4.4.2"},
	}
	if s.Spares() {
		rights = append(rights, Permission{"ec2:DescribeImages", "*", "2.2.4"})
	}
	if s.Forget {
		rights = append(rights, Permission{"ec2:DeleteTags", s.Location.image(s.Image.Known), "2.2.4"})
	}
	return rights
}

func (s *UnshareImage) ResourceID() string { return s.Image.Known }

func (s *UnshareImage) String() string {
	if len(s.Accounts) == 0 {
		return fmt.Sprintf("forget who might launch %s in %s before", s.Image.image(), s.Location.Region)
	}
	return fmt.Sprintf("withdraw %s in %s from %s", s.Image.image(), s.Location.Region, strings.Join(s.Accounts, ", "))
}
