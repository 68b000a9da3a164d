// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"cmp"
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// organizationalUnits lists the accounts of the organizational units that targets name.
func (s *survey) organizationalUnits(ctx context.Context) {
	s.facts.Units = map[string]distribution.Unit{}
	for _, target := range s.req.Targets {
		for _, id := range target.Units {
			if _, known := s.facts.Units[id]; known {
				continue
			}
			accounts, err := listMembers(ctx, s.pool.Organizations(s.req.OrganizationRoles), id)
			unit := distribution.Unit{Accounts: accounts}
			if err != nil {
				unit = distribution.Unit{Err: awsclient.Refused("organizations:ListAccountsForParent", err)}
			}
			s.facts.Units[id] = unit
		}
	}
}

// listMembers returns the accounts of a unit and of its child units, sorted by id.
func listMembers(ctx context.Context, client *organizations.Client, parent string) ([]distribution.Member, error) {
	var members []distribution.Member
	accounts := organizations.NewListAccountsForParentPaginator(client,
		&organizations.ListAccountsForParentInput{ParentId: &parent})
	for accounts.HasMorePages() {
		page, err := accounts.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, account := range page.Accounts {
			isActive := account.State == orgtypes.AccountStateActive
			members = append(members, distribution.Member{ID: aws.ToString(account.Id), Active: isActive})
		}
	}

	units := organizations.NewListOrganizationalUnitsForParentPaginator(client,
		&organizations.ListOrganizationalUnitsForParentInput{ParentId: &parent})
	for units.HasMorePages() {
		page, err := units.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, unit := range page.OrganizationalUnits {
			children, err := listMembers(ctx, client, aws.ToString(unit.Id))
			if err != nil {
				return nil, err
			}
			members = append(members, children...)
		}
	}

	slices.SortFunc(members, func(a, b distribution.Member) int { return cmp.Compare(a.ID, b.ID) })
	return members, nil
}
