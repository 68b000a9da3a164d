// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// handshake is an invitation to an organization.
type handshake struct {
	orgtypes.Handshake
	organization *organization
	invited      string // account number
}

func (w *World) createOrganization(
	c *Call, in *organizations.CreateOrganizationInput,
) (*organizations.CreateOrganizationOutput, error) {
	if err := w.authorize(c, AuthorizationRequest{Action: "organizations:CreateOrganization", Resource: "*"}); err != nil {
		return nil, err
	}

	management := c.caller.account
	if management.node != nil {
		return nil, badRequest("AlreadyInOrganizationException", "The AWS account is already a member of an organization.")
	}
	if in.FeatureSet == orgtypes.OrganizationFeatureSetConsolidatedBilling {
		return nil, badRequest(
			"UnsupportedAPIEndpointException", "The simulated AWS knows organizations with all features only.",
		)
	}

	created := &organization{
		id:         "o-" + w.randomLowercase(10, "organization", management.number),
		management: management,
		policies:   newOrderedMap[*organizationPolicy](),
		enabled:    map[orgtypes.PolicyType]bool{},
		delegates:  map[string]bool{},
		requests:   map[string]*node{},
	}

	created.root = &node{
		organization: created,
		id:           "r-" + w.randomLowercase(4, "root", management.number),
		name:         "Root",
		createdAt:    c.At,
	}

	// The API reference of CreateOrganization: with all features, service control policies are enabled in the root.
	if w.violates(c, "B.11.1", true) {
		created.enabled[orgtypes.PolicyTypeServiceControlPolicy] = true
		created.root.attachToSubtree(fullAccessPolicy(created, orgtypes.PolicyTypeServiceControlPolicy))
	}

	w.organizations.put(created.id, created)
	management.node = created.root.add(&node{id: management.number, account: management, createdAt: c.At})
	management.joinedMethod = orgtypes.AccountJoinedMethodInvited
	c.recordChange(created.id)
	return &organizations.CreateOrganizationOutput{Organization: showOrganization(created)}, nil
}

func (w *World) createOrganizationalUnit(
	c *Call, in *organizations.CreateOrganizationalUnitInput,
) (*organizations.CreateOrganizationalUnitOutput, error) {
	if err := refuseUnmodeled(in, "Name", "ParentId"); err != nil {
		return nil, err
	}
	if name := aws.ToString(in.Name); name == "" || len(name) > 128 {
		return nil, badRequest("InvalidInputException", "You provided a name that is not between 1 and 128 characters long.")
	}

	parent, err := w.authorizeParent(c, in.ParentId)
	if err != nil {
		return nil, err
	}

	for _, unit := range parent.childrenAt(false, c.At) {
		if unit.name == *in.Name {
			return nil, badRequest("DuplicateOrganizationalUnitException", "An OU with the same name already exists.")
		}
	}

	root := strings.TrimPrefix(parent.organization.root.id, "r-")
	created := parent.add(&node{
		id: "ou-" + root + "-" + w.randomLowercase(8, "unit", parent.organization.id), name: *in.Name, createdAt: c.At,
	})

	c.recordChange(created.id)
	view := showUnit(created)
	return &organizations.CreateOrganizationalUnitOutput{OrganizationalUnit: &view}, nil
}

// accountCreationTime is how long the creation of an account takes.
const accountCreationTime = 45 * time.Second

// createAccount starts the creation of an account. The account and its administrator role exist some time later.
func (w *World) createAccount(
	c *Call, in *organizations.CreateAccountInput,
) (*organizations.CreateAccountOutput, error) {
	if err := refuseUnmodeled(in, "AccountName", "Email", "RoleName"); err != nil {
		return nil, err
	}
	if aws.ToString(in.AccountName) == "" || !strings.Contains(aws.ToString(in.Email), "@") {
		return nil, badRequest("InvalidInputException", "You have to give a name and an e-mail address.")
	}

	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, err
	}

	number := fmt.Sprintf("%012d", w.random("account", o.id)%1e12)
	created := w.account(number, o.management.partition)
	created.name, created.email, created.joinedMethod = *in.AccountName, *in.Email, orgtypes.AccountJoinedMethodCreated
	created.node = o.root.add(&node{
		id:          number,
		account:     created,
		requestedAt: c.At,
		createdAt:   c.At.Add(accountCreationTime),
	})

	w.createAdministratorRole(created, o.management, aws.ToString(in.RoleName), created.node.createdAt)
	id := "car-" + hex.EncodeToString(w.randomBytes(16, "create account", o.id))
	o.requests[id] = created.node
	c.recordChange(number)
	return &organizations.CreateAccountOutput{CreateAccountStatus: showRequest(id, created.node, c.At)}, nil
}

// createAdministratorRole creates the role through which the management account accesses a new account.
func (w *World) createAdministratorRole(in, of *account, name string, at time.Time) {
	if name == "" {
		name = "OrganizationAccountAccessRole"
	}

	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + of.rootARN() +
		`"},"Action":"sts:AssumeRole"}]}`

	created := &role{trustPolicy: mustParsePolicy(
		trust, iampolicy.Trust,
	), maxSessionDuration: time.Hour, iamPrincipal: iamPrincipal{
		account:        in,
		path:           "/",
		name:           name,
		created:        at,
		inlinePolicies: newOrderedMap[*policyDocument](),
		id:             "AROA" + w.randomText(17, "principal", in.number, "role", name),
		arn:            in.arn("iam", "", "role/"+name),
	}}

	inline := mustParsePolicy(administratorAccessPolicy, iampolicy.Identity)
	inline.name = "AdministratorAccess"
	created.inlinePolicies.put(iamKey(inline.name), inline)
	in.roles.put(iamKey(name), created)
}

func showRequest(id string, n *node, at time.Time) *orgtypes.CreateAccountStatus {
	view := &orgtypes.CreateAccountStatus{
		Id:                 &id,
		AccountName:        &n.account.name,
		RequestedTimestamp: aws.Time(n.requestedAt),
		State:              orgtypes.CreateAccountStateInProgress,
	}

	if !n.createdAt.After(at) {
		view.State = orgtypes.CreateAccountStateSucceeded
		view.AccountId = &n.account.number
		view.CompletedTimestamp = aws.Time(n.createdAt)
	}

	return view
}

func (w *World) describeCreateAccountStatus(
	c *Call, in *organizations.DescribeCreateAccountStatusInput,
) (*organizations.DescribeCreateAccountStatusOutput, error) {
	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, err
	}

	id := aws.ToString(in.CreateAccountRequestId)
	created, ok := o.requests[id]
	if !ok {
		return nil, badRequest(
			"CreateAccountStatusNotFoundException", "You specified a create account request that doesn't exist.",
		)
	}

	return &organizations.DescribeCreateAccountStatusOutput{CreateAccountStatus: showRequest(id, created, c.At)}, nil
}

func (w *World) inviteAccountToOrganization(
	c *Call, in *organizations.InviteAccountToOrganizationInput,
) (*organizations.InviteAccountToOrganizationOutput, error) {
	if err := refuseUnmodeled(in, "Target"); err != nil {
		return nil, err
	}
	if in.Target == nil || in.Target.Type != orgtypes.HandshakePartyTypeAccount ||
		!matchesPattern(in.Target.Id, accountNumber) {
		return nil, badRequest("InvalidInputException", "The target must be an account number.")
	}

	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, err
	}
	if w.account(*in.Target.Id, o.management.partition).node != nil {
		return nil, badRequest("HandshakeConstraintViolationException", "The account is already a member of an organization.")
	}

	id := "h-" + w.randomLowercase(32, "handshake", o.id)
	created := &handshake{organization: o, invited: *in.Target.Id, Handshake: orgtypes.Handshake{
		Id:                  &id,
		Arn:                 aws.String(o.management.arn("organizations", "", "handshake/"+o.id+"/invite/"+id)),
		Action:              orgtypes.ActionTypeInviteAccountToOrganization,
		State:               orgtypes.HandshakeStateOpen,
		RequestedTimestamp:  aws.Time(c.At),
		ExpirationTimestamp: aws.Time(c.At.Add(15 * 24 * time.Hour)),
		Parties: []orgtypes.HandshakeParty{
			{Id: aws.String(strings.TrimPrefix(o.id, "o-")), Type: orgtypes.HandshakePartyTypeOrganization}, *in.Target,
		},
	}}

	w.handshakes.put(id, created)
	c.recordChange(id)
	return &organizations.InviteAccountToOrganizationOutput{Handshake: &created.Handshake}, nil
}

func (w *World) acceptHandshake(
	c *Call, in *organizations.AcceptHandshakeInput,
) (*organizations.AcceptHandshakeOutput, error) {
	if err := w.authorize(c, AuthorizationRequest{Action: "organizations:AcceptHandshake", Resource: "*"}); err != nil {
		return nil, err
	}

	found, ok := w.handshakes.get(aws.ToString(in.HandshakeId))
	account := c.caller.account
	switch {
	case !ok || found.invited != account.number:
		return nil, badRequest(
			"HandshakeNotFoundException", "We can't find a handshake with the HandshakeId that you specified.",
		)
	case found.State != orgtypes.HandshakeStateOpen || c.At.After(*found.ExpirationTimestamp):
		return nil, badRequest("InvalidHandshakeTransitionException", "The handshake is not open.")
	case account.node != nil:
		return nil, badRequest("HandshakeConstraintViolationException", "The account is already a member of an organization.")
	}

	found.State = orgtypes.HandshakeStateAccepted
	account.node = found.organization.root.add(&node{id: account.number, account: account, createdAt: c.At})
	account.joinedMethod = orgtypes.AccountJoinedMethodInvited
	c.recordChange(account.number)
	return &organizations.AcceptHandshakeOutput{Handshake: &found.Handshake}, nil
}

func (w *World) moveAccount(c *Call, in *organizations.MoveAccountInput) (*organizations.MoveAccountOutput, error) {
	moved, err := w.authorizeAccount(c, in.AccountId)
	if err != nil {
		return nil, err
	}

	loc := func(id *string) *node {
		if found := moved.organization.root.find(aws.ToString(id)); found != nil && found.account == nil {
			return found
		}
		return nil
	}

	source, destination := loc(in.SourceParentId), loc(in.DestinationParentId)
	switch {
	case source == nil || moved.parent != source:
		return nil, badRequest("SourceParentNotFoundException", "You specified a source parent that the account is not in.")
	case destination == nil:
		return nil, badRequest("DestinationParentNotFoundException", "You specified a destination parent that doesn't exist.")
	case source == destination:
		return nil, badRequest("DuplicateAccountException", "The account is there already.")
	}

	source.children = slices.DeleteFunc(source.children, func(n *node) bool { return n == moved })
	destination.children = append(destination.children, moved)
	moved.parent = destination
	c.recordChange(moved.id)
	return &organizations.MoveAccountOutput{}, nil
}

// closeAccount suspends an account. It remains listed, and its credentials become invalid.
func (w *World) closeAccount(c *Call, in *organizations.CloseAccountInput) (*organizations.CloseAccountOutput, error) {
	closed, err := w.authorizeAccount(c, in.AccountId)
	if err != nil {
		return nil, err
	}
	if closed.account == closed.organization.management {
		return nil, badRequest("ConstraintViolationException", "You can't close the management account.")
	}
	if closed.account.suspended {
		return nil, badRequest("AccountAlreadyClosedException", "You attempted to close an account that is already closed.")
	}

	closed.account.suspended = true
	c.recordChange(closed.id)
	return &organizations.CloseAccountOutput{}, nil
}

func (w *World) registerDelegatedAdministrator(
	c *Call, in *organizations.RegisterDelegatedAdministratorInput,
) (*organizations.RegisterDelegatedAdministratorOutput, error) {
	delegate, err := w.authorizeAccount(c, in.AccountId)
	if err != nil {
		return nil, err
	}
	if delegate.organization.delegates[delegate.id] {
		return nil, badRequest(
			"AccountAlreadyRegisteredException", "The account is already a delegated administrator for your organization.",
		)
	}

	delegate.organization.delegates[delegate.id] = true
	c.recordChange(delegate.id)
	return &organizations.RegisterDelegatedAdministratorOutput{}, nil
}
