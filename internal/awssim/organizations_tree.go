// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var organizationsOperations = []namedOperation{
	newOperation((*World).createOrganization),
	newOperation((*World).describeOrganization),
	newOperation((*World).listRoots),
	newOperation((*World).listAccounts),
	newOperation((*World).listAccountsForParent),
	newOperation((*World).listOrganizationalUnitsForParent),
	newOperation((*World).listChildren),
	newOperation((*World).listParents),
	newOperation((*World).describeAccount),
	newOperation((*World).describeOrganizationalUnit),
	newOperation((*World).createOrganizationalUnit),
	newOperation((*World).createAccount),
	newOperation((*World).describeCreateAccountStatus),
	newOperation((*World).inviteAccountToOrganization),
	newOperation((*World).acceptHandshake),
	newOperation((*World).moveAccount),
	newOperation((*World).closeAccount),
	newOperation((*World).registerDelegatedAdministrator),
	newOperation((*World).enablePolicyType),
	newOperation((*World).createOrganizationPolicy),
	newOperation((*World).updateOrganizationPolicy),
	newOperation((*World).attachPolicy),
	newOperation((*World).detachPolicy),
	newOperation((*World).describePolicy),
	newOperation((*World).listPoliciesForTarget),
}

// organization is a tree with a root, organizational units and accounts.
type organization struct {
	id         string
	management *account
	root       *node
	policies   orderedMap[*organizationPolicy] // by ID
	enabled    map[orgtypes.PolicyType]bool
	delegates  map[string]bool // delegated administrators
	requests   map[string]*node
}

// node is a root, an organizational unit or an account in an organization.
type node struct {
	organization *organization
	id           string
	name         string
	parent       *node // nil for the root
	children     []*node
	account      *account // nil for a root or organizational unit
	createdAt    time.Time
	requestedAt  time.Time
	attached     []*organizationPolicy
}

// path returns the path of a root or unit, or of the parent of an account, in the form of aws:PrincipalOrgPaths:
// "o-.../r-.../ou-.../".
func (n *node) path() string {
	if n == nil {
		return ""
	}
	if n.account != nil {
		return n.parent.path()
	}
	above := n.organization.id + "/"
	if n.parent != nil {
		above = n.parent.path()
	}
	return above + n.id + "/"
}

func (n *node) arn() string {
	kind := "ou"
	switch {
	case n.parent == nil:
		kind = "root"
	case n.account != nil:
		kind = "account"
	}
	return n.organization.management.arn("organizations", "", kind+"/"+n.organization.id+"/"+n.id)
}

func (o *organization) arn() string {
	return o.management.arn("organizations", "", "organization/"+o.id)
}

// find returns a node by ID in the subtree of n. Nil if there is none.
func (n *node) find(id string) *node {
	if n.id == id {
		return n
	}
	for _, child := range n.children {
		if found := child.find(id); found != nil {
			return found
		}
	}
	return nil
}

// childrenAt returns the direct children that are units or accounts, as of a time.
func (n *node) childrenAt(accounts bool, at time.Time) (all []*node) {
	for _, child := range n.children {
		if (child.account != nil) == accounts && !child.createdAt.After(at) {
			all = append(all, child)
		}
	}
	return all
}

// add adds a child. For each enabled policy type it attaches the policy that allows everything.
func (n *node) add(child *node) *node {
	child.organization, child.parent = n.organization, n
	n.children = append(n.children, child)
	for _, kind := range policyTypes {
		if n.organization.enabled[kind] {
			child.attached = append(child.attached, fullAccessPolicy(n.organization, kind))
		}
	}
	return child
}

// membership returns the account's position in its organization.
func (a *account) membership() iampolicy.Membership {
	if a.node == nil {
		return iampolicy.Membership{}
	}
	o := a.node.organization
	return iampolicy.Membership{Organization: o.id, Path: a.node.path(), Management: o.management == a}
}

// policyLevels returns the policies of a type that apply to an account, from the root to the account.
func (a *account) policyLevels(kind orgtypes.PolicyType) (levels [][]*iampolicy.Document) {
	if a.node == nil || !a.node.organization.enabled[kind] {
		return nil
	}

	for at := a.node; at != nil; at = at.parent {
		level := []*iampolicy.Document{}
		for _, attached := range at.attached {
			if attached.Type == kind {
				level = append(level, attached.parsed)
			}
		}
		levels = append([][]*iampolicy.Document{level}, levels...)
	}

	return levels
}

// authorizeMember authorizes an operation that any member account may perform, and returns the organization.
func (w *World) authorizeMember(c *Call, resource string) (*organization, error) {
	err := w.authorize(c, AuthorizationRequest{Action: "organizations:" + c.Operation, Resource: resource})
	if err != nil {
		return nil, err
	}
	if c.caller.account.node == nil {
		return nil, badRequest("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
	}
	return c.caller.account.node.organization, nil
}

// authorizeManager authorizes an operation that only the management account may perform, and returns the organization.
// A delegated administrator may perform it too if it only reads.
func (w *World) authorizeManager(c *Call, resource string) (*organization, error) {
	o, err := w.authorizeMember(c, resource)
	if err != nil {
		return nil, err
	}

	reads := strings.HasPrefix(c.Operation, "Describe") || strings.HasPrefix(c.Operation, "List")
	delegated := reads && o.delegates[c.caller.account.number]
	if o.management != c.caller.account && !delegated {
		return nil, badRequest("AccessDeniedException", "You don't have permissions to access this resource.")
	}
	return o, nil
}

// organizationARN returns the ARN of a node in the caller's organization. "*" if there is none.
func organizationARN(c *Call, id *string) string {
	if n := c.caller.account.node; n != nil {
		if found := n.organization.root.find(aws.ToString(id)); found != nil {
			return found.arn()
		}
	}
	return "*"
}

// authorizeParent authorizes a manager's operation on a root or organizational unit, which it returns.
func (w *World) authorizeParent(c *Call, id *string) (*node, error) {
	o, err := w.authorizeManager(c, organizationARN(c, id))
	if err != nil {
		return nil, err
	}
	found := o.root.find(aws.ToString(id))
	if found == nil || found.account != nil {
		return nil, badRequest("ParentNotFoundException", "You specified parent that doesn't exist.")
	}
	return found, nil
}

// authorizeAccount authorizes a manager's operation on an account, which it returns.
func (w *World) authorizeAccount(c *Call, id *string) (*node, error) {
	if !matchesPattern(id, accountNumber) {
		return nil, badRequest("InvalidInputException", "You provided a value that does not match the required pattern.")
	}

	o, err := w.authorizeManager(c, organizationARN(c, id))
	if err != nil {
		return nil, err
	}

	found := o.root.find(*id)
	if found == nil || found.createdAt.After(c.At) {
		return nil, badRequest("AccountNotFoundException", "You specified an account that doesn't exist.")
	}

	return found, nil
}

func showOrganization(o *organization) *orgtypes.Organization {
	return &orgtypes.Organization{
		Id:                 aws.String(o.id),
		Arn:                aws.String(o.arn()),
		FeatureSet:         orgtypes.OrganizationFeatureSetAll,
		MasterAccountId:    &o.management.number,
		MasterAccountArn:   aws.String(o.management.node.arn()),
		MasterAccountEmail: &o.management.email,
		AvailablePolicyTypes: []orgtypes.PolicyTypeSummary{
			{Type: orgtypes.PolicyTypeServiceControlPolicy, Status: orgtypes.PolicyTypeStatusEnabled},
		},
	}
}

func showRoot(n *node) orgtypes.Root {
	view := orgtypes.Root{
		Id:          &n.id,
		Arn:         aws.String(n.arn()),
		Name:        &n.name,
		PolicyTypes: []orgtypes.PolicyTypeSummary{},
	}

	for _, kind := range policyTypes {
		if n.organization.enabled[kind] {
			view.PolicyTypes = append(view.PolicyTypes, orgtypes.PolicyTypeSummary{
				Type: kind, Status: orgtypes.PolicyTypeStatusEnabled,
			})
		}
	}

	return view
}

func showUnit(n *node) orgtypes.OrganizationalUnit {
	return orgtypes.OrganizationalUnit{
		Id:   &n.id,
		Arn:  aws.String(n.arn()),
		Name: &n.name,
		Path: aws.String(n.path()),
	}
}

func showAccount(n *node) orgtypes.Account {
	view := orgtypes.Account{
		Id:              &n.account.number,
		Arn:             aws.String(n.arn()),
		Name:            &n.account.name,
		Email:           &n.account.email,
		JoinedMethod:    n.account.joinedMethod,
		JoinedTimestamp: aws.Time(n.createdAt),
		Status:          orgtypes.AccountStatusActive,
		State:           orgtypes.AccountStateActive,
		Paths:           []string{n.path() + n.id + "/"},
	}

	if n.account.suspended {
		view.Status, view.State = orgtypes.AccountStatusSuspended, orgtypes.AccountStateSuspended
	}

	return view
}

func showAll[T any](nodes []*node, show func(*node) T) []T {
	view := make([]T, 0, len(nodes))
	for _, n := range nodes {
		view = append(view, show(n))
	}
	return view
}

// paginateOrganizations is like paginate, with the limits of Organizations: 1 to 20 items, 20 by default.
func paginateOrganizations[T any](all []T, limit *int32, token *string) ([]T, *string, error) {
	if limit == nil {
		limit = aws.Int32(20)
	}

	if *limit < 1 || *limit > 20 {
		return nil, nil, badRequest(
			"InvalidInputException", "You specified a value for MaxResults that is not between 1 and 20.",
		)
	}

	page, next, err := paginate(all, limit, token)
	if err != nil {
		return nil, nil, badRequest("InvalidInputException", "You provided a token that is not valid.")
	}

	return page, next, nil
}

func (w *World) describeOrganization(
	c *Call, _ *organizations.DescribeOrganizationInput,
) (*organizations.DescribeOrganizationOutput, error) {
	o, err := w.authorizeMember(c, "*")
	if err != nil {
		return nil, err
	}
	return &organizations.DescribeOrganizationOutput{Organization: showOrganization(o)}, nil
}

func (w *World) listRoots(c *Call, in *organizations.ListRootsInput) (*organizations.ListRootsOutput, error) {
	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, err
	}
	roots, next, err := paginateOrganizations([]orgtypes.Root{showRoot(o.root)}, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &organizations.ListRootsOutput{Roots: roots, NextToken: next}, nil
}

func (w *World) listAccounts(c *Call, in *organizations.ListAccountsInput) (*organizations.ListAccountsOutput, error) {
	o, err := w.authorizeManager(c, "*")
	if err != nil {
		return nil, err
	}

	var all []*node
	for _, account := range w.accounts.all {
		if n := account.node; n != nil && n.organization == o && !n.createdAt.After(c.At) {
			all = append(all, n)
		}
	}

	accounts, next, err := paginateOrganizations(showAll(all, showAccount), in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}

	return &organizations.ListAccountsOutput{Accounts: accounts, NextToken: next}, nil
}

func (w *World) listAccountsForParent(
	c *Call, in *organizations.ListAccountsForParentInput,
) (*organizations.ListAccountsForParentOutput, error) {
	parent, err := w.authorizeParent(c, in.ParentId)
	if err != nil {
		return nil, err
	}

	accounts, next, err := paginateOrganizations(
		showAll(parent.childrenAt(true, c.At), showAccount), in.MaxResults, in.NextToken,
	)
	if err != nil {
		return nil, err
	}

	return &organizations.ListAccountsForParentOutput{Accounts: accounts, NextToken: next}, nil
}

func (w *World) listOrganizationalUnitsForParent(
	c *Call, in *organizations.ListOrganizationalUnitsForParentInput,
) (*organizations.ListOrganizationalUnitsForParentOutput, error) {
	parent, err := w.authorizeParent(c, in.ParentId)
	if err != nil {
		return nil, err
	}

	units, next, err := paginateOrganizations(
		showAll(parent.childrenAt(false, c.At), showUnit), in.MaxResults, in.NextToken,
	)
	if err != nil {
		return nil, err
	}

	return &organizations.ListOrganizationalUnitsForParentOutput{OrganizationalUnits: units, NextToken: next}, nil
}

func (w *World) listChildren(c *Call, in *organizations.ListChildrenInput) (*organizations.ListChildrenOutput, error) {
	parent, err := w.authorizeParent(c, in.ParentId)
	if err != nil {
		return nil, err
	}

	show := func(n *node) orgtypes.Child { return orgtypes.Child{Id: &n.id, Type: in.ChildType} }
	children, next, err := paginateOrganizations(
		showAll(parent.childrenAt(in.ChildType == orgtypes.ChildTypeAccount, c.At), show), in.MaxResults, in.NextToken,
	)
	if err != nil {
		return nil, err
	}

	return &organizations.ListChildrenOutput{Children: children, NextToken: next}, nil
}

func (w *World) listParents(c *Call, in *organizations.ListParentsInput) (*organizations.ListParentsOutput, error) {
	o, err := w.authorizeManager(c, organizationARN(c, in.ChildId))
	if err != nil {
		return nil, err
	}

	child := o.root.find(aws.ToString(in.ChildId))
	if child == nil || child.parent == nil || child.createdAt.After(c.At) {
		return nil, badRequest("ChildNotFoundException", "You specified a child that doesn't exist.")
	}

	kind := orgtypes.ParentTypeOrganizationalUnit
	if child.parent.parent == nil {
		kind = orgtypes.ParentTypeRoot
	}

	return &organizations.ListParentsOutput{Parents: []orgtypes.Parent{{Id: &child.parent.id, Type: kind}}}, nil
}

func (w *World) describeAccount(
	c *Call, in *organizations.DescribeAccountInput,
) (*organizations.DescribeAccountOutput, error) {
	found, err := w.authorizeAccount(c, in.AccountId)
	if err != nil {
		return nil, err
	}
	view := showAccount(found)
	return &organizations.DescribeAccountOutput{Account: &view}, nil
}

func (w *World) describeOrganizationalUnit(
	c *Call, in *organizations.DescribeOrganizationalUnitInput,
) (*organizations.DescribeOrganizationalUnitOutput, error) {
	o, err := w.authorizeManager(c, organizationARN(c, in.OrganizationalUnitId))
	if err != nil {
		return nil, err
	}

	found := o.root.find(aws.ToString(in.OrganizationalUnitId))
	if found == nil || found.account != nil || found.parent == nil {
		return nil, badRequest(
			"OrganizationalUnitNotFoundException", "You specified an organizational unit that doesn't exist.",
		)
	}

	view := showUnit(found)
	return &organizations.DescribeOrganizationalUnitOutput{OrganizationalUnit: &view}, nil
}
