// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

const (
	management = "000000000001"
	bare       = "777777777777" // an account without the role
	closed     = "666666666666"
)

// tree is an organization. One unit has the source account and a closed account. A unit below it has the targets and an
// account without the role.
type tree struct {
	*stage
	client      *organizations.Client
	root, upper string
}

func (s *stage) grow() tree {
	s.Helper()
	o := tree{stage: s, client: organizations.NewFromConfig(s.world.Config(management, tokyo))}
	_, err := o.client.CreateOrganization(
		s.Context(),
		&organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll},
	)
	o.must(err)
	roots, err := o.client.ListRoots(s.Context(), &organizations.ListRootsInput{})
	o.must(err)
	o.root = *roots.Roots[0].Id
	o.upper = o.unit("images", o.root)
	lower := o.unit("prod", o.upper)
	for _, account := range []string{source, closed, prod, other, bare} {
		unit := lower
		if account == source || account == closed {
			unit = o.upper
		}
		invited, err := o.client.InviteAccountToOrganization(s.Context(), &organizations.InviteAccountToOrganizationInput{
			Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount},
		})
		o.must(err)
		_, err = organizations.NewFromConfig(s.world.Config(account, tokyo)).
			AcceptHandshake(s.Context(), &organizations.AcceptHandshakeInput{HandshakeId: invited.Handshake.Id})
		o.must(err)
		_, err = o.client.MoveAccount(
			s.Context(),
			&organizations.MoveAccountInput{AccountId: &account, SourceParentId: &o.root, DestinationParentId: &unit},
		)
		o.must(err)
	}
	_, err = o.client.CloseAccount(s.Context(), &organizations.CloseAccountInput{AccountId: aws.String(closed)})
	o.must(err)
	roles := iam.NewFromConfig(s.world.Config(management, tokyo))
	_, err = roles.CreateRole(
		s.Context(),
		&iam.CreateRoleInput{RoleName: aws.String("lister"), AssumeRolePolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{
				"Effect":"Allow",
				"Principal":{"AWS":"arn:aws:iam::` + source + `:root"},
				"Action":"sts:AssumeRole"
			}]}`,
		)},
	)
	o.must(err)
	_, err = roles.PutRolePolicy(
		s.Context(),
		&iam.PutRolePolicyInput{RoleName: aws.String("lister"), PolicyName: aws.String("list"), PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{
				"Effect":"Allow",
				"Action":["organizations:ListAccountsForParent","organizations:ListOrganizationalUnitsForParent"],
				"Resource":"*"
			}]}`,
		)},
	)
	o.must(err)
	return o
}

func (o tree) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

func (o tree) unit(name, parent string) string {
	o.Helper()
	made, err := o.client.CreateOrganizationalUnit(
		o.Context(),
		&organizations.CreateOrganizationalUnitInput{ParentId: &parent, Name: &name},
	)
	o.must(err)
	return *made.OrganizationalUnit.Id
}

// options returns options that name the target by its organizational unit.
func (o tree) options(change func(target map[string]any)) map[string]any {
	options := o.stage.options(prod)
	target := options["target"].([]any)[0].(map[string]any)
	delete(target, "account_ids")
	target["organizational_unit_ids"] = []any{o.upper}
	change(target)
	options["organizations_role"] = map[string]any{"role_arn": "arn:aws:iam::" + management + ":role/lister"}
	return options
}

func TestOrganization_nestedUnits(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.grow()
		output, err := s.run(
			s.Context(),
			o.options(func(target map[string]any) { target["exclude_account_ids"] = []any{bare} }),
		)
		if err != nil {
			s.Fatal(err)
		}
		for account, want := range map[string]int{prod: 1, other: 1, bare: 0} {
			if got := len(s.images(account)); got != want {
				s.Errorf("account %s has %d images, want %d", account, got, want)
			}
		}
		if strings.Count(output.Id(), ",") != 1 {
			s.Errorf("the artifact is %s", output.Id())
		}
		if !s.mentions("accounts are skipped: "+closed, nil) {
			s.Errorf("the closed account is not reported:\n%s", s.screen)
		}
	})
}

func TestOrganization_roleMissing(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.grow()
		if _, err := s.run(
			s.Context(),
			o.options(func(map[string]any) {}),
		); err == nil || !s.mentions("assume_role_denied,"+bare, err) {
			s.Errorf("got %v", err)
		}
		if made := len(s.made()); made > 0 {
			s.Errorf("%d calls made something", made)
		}
		output, err := s.run(s.Context(), o.options(func(target map[string]any) { target["on_missing_role"] = "skip" }))
		if err != nil {
			s.Fatal(err)
		}
		want := bare + ` ap-northeast-1: none: skipped, its role cannot be assumed (target "to 999999999999")`
		if !strings.Contains(output.String(), want) {
			s.Errorf("got the artifact %q, want it to have %q", output, want)
		}
		if len(s.images(prod)) != 1 || len(s.images(other)) != 1 || !s.mentions("assume_role_denied,"+bare, nil) {
			s.Errorf("the others have not got theirs, or nothing is reported:\n%s", s.screen)
		}
	})
}

// A run that skips every account fails, and the error says that on_missing_role is the reason.
func TestOrganization_everyAccountSkipped(t *testing.T) {
	onStage(t, func(s *stage) {
		options := s.grow().options(func(target map[string]any) {
			target["exclude_account_ids"] = []any{prod, other}
			target["on_missing_role"] = "skip"
		})
		_, err := s.run(s.Context(), options)
		if err == nil || !strings.Contains(err.Error(), "on_missing_role skips every account") {
			s.Errorf("got %v", err)
		}
	})
}

func TestOrganization_cannotListUnit(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.grow()
		options := o.options(func(map[string]any) {})
		delete(options, "organizations_role")
		_, err := s.run(s.Context(), options)
		if err == nil || !strings.Contains(err.Error(), "the accounts of "+o.upper+" cannot be listed") ||
			!s.mentions("management account", err) {
			s.Errorf("got %v", err)
		}
	})
}

// A page has 20 entries. The entries of later pages are listed as well.
func TestOrganization_manyPages(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.grow()
		for range 25 {
			o.unit("empty "+strings.Repeat("x", len(s.world.Records())%100), o.upper)
		}
		options := o.options(func(target map[string]any) { target["exclude_account_ids"] = []any{bare, other} })
		options["mode"] = "plan"
		if _, err := s.run(s.Context(), options); err != nil {
			s.Fatal(err)
		}
		listed := s.world.Records()[s.begun:].Calls("organizations:ListOrganizationalUnitsForParent")
		if len(listed) < 28 || !s.mentions(prod, nil) { // two pages of the unit, and one of each unit below it
			s.Errorf("%d calls listed units", len(listed))
		}
	})
}
