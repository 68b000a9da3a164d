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

// handshake is an invitation into an organization.
type handshake struct {
	orgtypes.Handshake
	organization *organization
	invited      string // account
}

func (w *World) createOrganization(c *Call, in *organizations.CreateOrganizationInput) (*organizations.CreateOrganizationOutput, error) {
	if err := w.authorise(c, Ask{Action: "organizations:CreateOrganization", Resource: "*"}); err != nil {
		return nil, err
	}
	management := c.caller.account
	if management.node != nil {
		return nil, invalid("AlreadyInOrganizationException", "The AWS account is already a member of an organization.")
	}
	if in.FeatureSet == orgtypes.OrganizationFeatureSetConsolidatedBilling {
		return nil, invalid("UnsupportedAPIEndpointException", "The simulated AWS knows organizations with all features only.")
	}
	made := &organization{
		id: "o-" + w.lowID(10, "organization", management.number), management: management, policies: newShelf[*organizationPolicy](),
		enabled: map[orgtypes.PolicyType]bool{}, delegates: map[string]bool{}, requests: map[string]*node{},
	}
	made.root = &node{organization: made, id: "r-" + w.lowID(4, "root", management.number), name: "Root", since: c.At}
	w.organizations.put(made.id, made)
	management.node = made.root.add(&node{id: management.number, account: management, since: c.At})
	management.joined = orgtypes.AccountJoinedMethodInvited
	c.changed(made.id)
	return &organizations.CreateOrganizationOutput{Organization: showOrganization(made)}, nil
}

func (w *World) createOrganizationalUnit(c *Call, in *organizations.CreateOrganizationalUnitInput) (*organizations.CreateOrganizationalUnitOutput, error) {
	if err := only(in, "Name", "ParentId"); err != nil {
		return nil, err
	}
	if name := aws.ToString(in.Name); name == "" || len(name) > 128 {
		return nil, invalid("InvalidInputException", "You provided a name that is not between 1 and 128 characters long.")
	}
	parent, err := w.parentOf(c, in.ParentId)
	if err != nil {
		return nil, err
	}
	for _, unit := range parent.below(false, c.At) {
		if unit.name == *in.Name {
			return nil, invalid("DuplicateOrganizationalUnitException", "An OU with the same name already exists.")
		}
	}
	root := strings.TrimPrefix(parent.organization.root.id, "r-")
	made := parent.add(&node{id: "ou-" + root + "-" + w.lowID(8, "unit", parent.organization.id), name: *in.Name, since: c.At})
	c.changed(made.id)
	shown := showUnit(made)
	return &organizations.CreateOrganizationalUnitOutput{OrganizationalUnit: &shown}, nil
}

// accountTakes is how long a new account takes to come into being.
const accountTakes = 45 * time.Second

// createAccount begins an account; it is there, with its role for administrators, some seconds later.
func (w *World) createAccount(c *Call, in *organizations.CreateAccountInput) (*organizations.CreateAccountOutput, error) {
	if err := only(in, "AccountName", "Email", "RoleName"); err != nil {
		return nil, err
	}
	if aws.ToString(in.AccountName) == "" || !strings.Contains(aws.ToString(in.Email), "@") {
		return nil, invalid("InvalidInputException", "You have to give a name and an e-mail address.")
	}
	o, err := w.manager(c, "*")
	if err != nil {
		return nil, err
	}
	number := fmt.Sprintf("%012d", w.draw("account", o.id)%1e12)
	made := w.account(number, o.management.partition)
	made.name, made.email, made.joined = *in.AccountName, *in.Email, orgtypes.AccountJoinedMethodCreated
	made.node = o.root.add(&node{id: number, account: made, asked: c.At, since: c.At.Add(accountTakes)})
	w.makeAdministratorRole(made, o.management, aws.ToString(in.RoleName), made.node.since)
	id := "car-" + hex.EncodeToString(w.drawBytes(16, "create account", o.id))
	o.requests[id] = made.node
	c.changed(number)
	return &organizations.CreateAccountOutput{CreateAccountStatus: showRequest(id, made.node, c.At)}, nil
}

// makeAdministratorRole makes the role by which the management account gets into an account that it created.
func (w *World) makeAdministratorRole(in, of *account, name string, at time.Time) {
	if name == "" {
		name = "OrganizationAccountAccessRole"
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + of.rootARN() + `"},"Action":"sts:AssumeRole"}]}`
	made := &role{trust: mustParse(trust, iampolicy.Trust), longest: time.Hour, holder: holder{
		account: in, path: "/", name: name, made: at, inline: newShelf[*document](),
		id: "AROA" + w.drawText(17, "principal", in.number, "role", name), arn: in.arn("iam", "", "role/"+name),
	}}
	made.inline.put("AdministratorAccess", mustParse(administrator, iampolicy.Identity))
	in.roles.put(name, made)
}

func showRequest(id string, n *node, at time.Time) *orgtypes.CreateAccountStatus {
	shown := &orgtypes.CreateAccountStatus{Id: &id, AccountName: &n.account.name, RequestedTimestamp: aws.Time(n.asked), State: orgtypes.CreateAccountStateInProgress}
	if !n.since.After(at) {
		shown.State, shown.AccountId, shown.CompletedTimestamp = orgtypes.CreateAccountStateSucceeded, &n.account.number, aws.Time(n.since)
	}
	return shown
}

func (w *World) describeCreateAccountStatus(c *Call, in *organizations.DescribeCreateAccountStatusInput) (*organizations.DescribeCreateAccountStatusOutput, error) {
	o, err := w.manager(c, "*")
	if err != nil {
		return nil, err
	}
	id := aws.ToString(in.CreateAccountRequestId)
	made, there := o.requests[id]
	if !there {
		return nil, invalid("CreateAccountStatusNotFoundException", "You specified a create account request that doesn't exist.")
	}
	return &organizations.DescribeCreateAccountStatusOutput{CreateAccountStatus: showRequest(id, made, c.At)}, nil
}

func (w *World) inviteAccountToOrganization(c *Call, in *organizations.InviteAccountToOrganizationInput) (*organizations.InviteAccountToOrganizationOutput, error) {
	if err := only(in, "Target"); err != nil {
		return nil, err
	}
	if in.Target == nil || in.Target.Type != orgtypes.HandshakePartyTypeAccount || !matches(in.Target.Id, accountNumber) {
		return nil, invalid("InvalidInputException", "The target has to be the number of an account.")
	}
	o, err := w.manager(c, "*")
	if err != nil {
		return nil, err
	}
	if w.account(*in.Target.Id, o.management.partition).node != nil {
		return nil, invalid("HandshakeConstraintViolationException", "The account is already a member of an organization.")
	}
	id := "h-" + w.lowID(32, "handshake", o.id)
	made := &handshake{organization: o, invited: *in.Target.Id, Handshake: orgtypes.Handshake{
		Id: &id, Arn: aws.String(o.management.arn("organizations", "", "handshake/"+o.id+"/invite/"+id)), Action: orgtypes.ActionTypeInviteAccountToOrganization,
		State: orgtypes.HandshakeStateOpen, RequestedTimestamp: aws.Time(c.At), ExpirationTimestamp: aws.Time(c.At.Add(15 * 24 * time.Hour)),
		Parties: []orgtypes.HandshakeParty{{Id: aws.String(strings.TrimPrefix(o.id, "o-")), Type: orgtypes.HandshakePartyTypeOrganization}, *in.Target},
	}}
	w.handshakes.put(id, made)
	c.changed(id)
	return &organizations.InviteAccountToOrganizationOutput{Handshake: &made.Handshake}, nil
}

func (w *World) acceptHandshake(c *Call, in *organizations.AcceptHandshakeInput) (*organizations.AcceptHandshakeOutput, error) {
	if err := w.authorise(c, Ask{Action: "organizations:AcceptHandshake", Resource: "*"}); err != nil {
		return nil, err
	}
	found, there := w.handshakes.get(aws.ToString(in.HandshakeId))
	account := c.caller.account
	switch {
	case !there || found.invited != account.number:
		return nil, invalid("HandshakeNotFoundException", "We can't find a handshake with the HandshakeId that you specified.")
	case found.State != orgtypes.HandshakeStateOpen || c.At.After(*found.ExpirationTimestamp):
		return nil, invalid("InvalidHandshakeTransitionException", "The handshake is not open.")
	case account.node != nil:
		return nil, invalid("HandshakeConstraintViolationException", "The account is already a member of an organization.")
	}
	found.State = orgtypes.HandshakeStateAccepted
	account.node = found.organization.root.add(&node{id: account.number, account: account, since: c.At})
	account.joined = orgtypes.AccountJoinedMethodInvited
	c.changed(account.number)
	return &organizations.AcceptHandshakeOutput{Handshake: &found.Handshake}, nil
}

func (w *World) moveAccount(c *Call, in *organizations.MoveAccountInput) (*organizations.MoveAccountOutput, error) {
	moved, err := w.accountOf(c, in.AccountId)
	if err != nil {
		return nil, err
	}
	place := func(id *string) *node {
		if found := moved.organization.root.find(aws.ToString(id)); found != nil && found.account == nil {
			return found
		}
		return nil
	}
	source, destination := place(in.SourceParentId), place(in.DestinationParentId)
	switch {
	case source == nil || moved.parent != source:
		return nil, invalid("SourceParentNotFoundException", "You specified a source parent that the account is not in.")
	case destination == nil:
		return nil, invalid("DestinationParentNotFoundException", "You specified a destination parent that doesn't exist.")
	case source == destination:
		return nil, invalid("DuplicateAccountException", "The account is there already.")
	}
	source.children = slices.DeleteFunc(source.children, func(n *node) bool { return n == moved })
	destination.children = append(destination.children, moved)
	moved.parent = destination
	c.changed(moved.id)
	return &organizations.MoveAccountOutput{}, nil
}

// closeAccount suspends an account: it stays in the list, and its credentials mean nothing any more.
func (w *World) closeAccount(c *Call, in *organizations.CloseAccountInput) (*organizations.CloseAccountOutput, error) {
	closed, err := w.accountOf(c, in.AccountId)
	if err != nil {
		return nil, err
	}
	if closed.account == closed.organization.management {
		return nil, invalid("ConstraintViolationException", "You can't close the management account.")
	}
	if closed.account.suspended {
		return nil, invalid("AccountAlreadyClosedException", "You attempted to close an account that is already closed.")
	}
	closed.account.suspended = true
	c.changed(closed.id)
	return &organizations.CloseAccountOutput{}, nil
}

func (w *World) registerDelegatedAdministrator(c *Call, in *organizations.RegisterDelegatedAdministratorInput) (*organizations.RegisterDelegatedAdministratorOutput, error) {
	delegate, err := w.accountOf(c, in.AccountId)
	if err != nil {
		return nil, err
	}
	if delegate.organization.delegates[delegate.id] {
		return nil, invalid("AccountAlreadyRegisteredException", "The account is already a delegated administrator for your organization.")
	}
	delegate.organization.delegates[delegate.id] = true
	c.changed(delegate.id)
	return &organizations.RegisterDelegatedAdministratorOutput{}, nil
}
