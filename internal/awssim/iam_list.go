// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
)

var iamListOperations = []namedOperation{
	newOperation((*World).listRoles),
	newOperation((*World).listRolePolicies),
	newOperation((*World).listAttachedRolePolicies),
	newOperation((*World).listRoleTags),
	newOperation((*World).listUsers),
	newOperation((*World).listUserPolicies),
	newOperation((*World).listAttachedUserPolicies),
	newOperation((*World).listAccessKeys),
	newOperation((*World).listPolicies),
	newOperation((*World).getPolicy),
	newOperation((*World).getPolicyVersion),
	newOperation((*World).listInstanceProfiles),
	newOperation((*World).listInstanceProfilesForRole),
	newOperation((*World).simulatePrincipalPolicy),
}

// iamPage is a page of a list of IAM.
type iamPage[T any] struct {
	items     []T
	marker    *string
	truncated bool
}

// paginateIAM returns the page for MaxItems and Marker. IAM returns at most 100 items without MaxItems.
func paginateIAM[T any](c *Call, all []T, limit *int32, marker *string) (iamPage[T], error) {
	if err := validateRange(c, "MaxItems", limit, 1, 1000); err != nil {
		return iamPage[T]{}, err
	}
	if limit == nil {
		limit = aws.Int32(100)
	}

	items, next, err := paginate(all, limit, marker)
	if err != nil {
		return iamPage[T]{}, badRequest("ValidationError", "Invalid Marker.")
	}
	return iamPage[T]{items, next, next != nil}, nil
}

// authorizeList authorizes a call that lists resources of an account below a path.
func (w *World) authorizeList(c *Call, kind string) error {
	return w.authorize(c, AuthorizationRequest{
		Action: "iam:" + c.Operation, Resource: c.caller.account.arn("iam", "", kind+"/"),
	})
}

// isBelowIAMPath reports whether a path starts with the prefix of a request.
func isBelowIAMPath(path string, prefix *string) bool {
	return prefix == nil || strings.HasPrefix(path, *prefix)
}

func (w *World) listRoles(c *Call, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	if err := w.authorizeList(c, "role"); err != nil {
		return nil, err
	}

	var all []iamtypes.Role
	for _, found := range c.caller.account.roles.all {
		if found.created.After(c.At) || !isBelowIAMPath(found.path, in.PathPrefix) {
			continue
		}
		view := showRole(found)
		view.Tags, view.PermissionsBoundary = nil, nil // only GetRole shows them
		all = append(all, *view)
	}
	slices.SortFunc(all, func(a, b iamtypes.Role) int { return strings.Compare(*a.RoleName, *b.RoleName) })

	page, err := paginateIAM(c, all, in.MaxItems, in.Marker)
	return &iam.ListRolesOutput{Roles: page.items, Marker: page.marker, IsTruncated: page.truncated}, err
}

func (w *World) listUsers(c *Call, in *iam.ListUsersInput) (*iam.ListUsersOutput, error) {
	if err := w.authorizeList(c, "user"); err != nil {
		return nil, err
	}

	var all []iamtypes.User
	for _, found := range c.caller.account.users.all {
		if !isBelowIAMPath(found.path, in.PathPrefix) {
			continue
		}
		view := showUser(found)
		view.Tags, view.PermissionsBoundary = nil, nil // only GetUser shows them
		all = append(all, *view)
	}
	slices.SortFunc(all, func(a, b iamtypes.User) int { return strings.Compare(*a.UserName, *b.UserName) })

	page, err := paginateIAM(c, all, in.MaxItems, in.Marker)
	return &iam.ListUsersOutput{Users: page.items, Marker: page.marker, IsTruncated: page.truncated}, err
}

// inlinePolicyNames returns the names of the inline policies of a user or role.
func (h *iamPrincipal) inlinePolicyNames() (names []string) {
	for _, inline := range h.inlinePolicies.all {
		names = append(names, inline.name)
	}
	slices.Sort(names)
	return names
}

// showAttachedPolicies returns the managed policies that are attached to a user or role.
func (h *iamPrincipal) showAttachedPolicies() (view []iamtypes.AttachedPolicy) {
	for _, attached := range h.attachedPolicies {
		view = append(view, iamtypes.AttachedPolicy{PolicyArn: attached.Arn, PolicyName: attached.PolicyName})
	}
	return view
}

func (w *World) listRolePolicies(c *Call, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	found, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	page, err := paginateIAM(c, found.inlinePolicyNames(), in.MaxItems, in.Marker)
	return &iam.ListRolePoliciesOutput{
		PolicyNames: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}

func (w *World) listUserPolicies(c *Call, in *iam.ListUserPoliciesInput) (*iam.ListUserPoliciesOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	page, err := paginateIAM(c, found.inlinePolicyNames(), in.MaxItems, in.Marker)
	return &iam.ListUserPoliciesOutput{
		PolicyNames: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}

func (w *World) listAttachedRolePolicies(
	c *Call, in *iam.ListAttachedRolePoliciesInput,
) (*iam.ListAttachedRolePoliciesOutput, error) {
	if err := refuseUnmodeled(in, "RoleName", "MaxItems", "Marker"); err != nil {
		return nil, err
	}
	found, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	page, err := paginateIAM(c, found.showAttachedPolicies(), in.MaxItems, in.Marker)
	return &iam.ListAttachedRolePoliciesOutput{
		AttachedPolicies: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}

func (w *World) listAttachedUserPolicies(
	c *Call, in *iam.ListAttachedUserPoliciesInput,
) (*iam.ListAttachedUserPoliciesOutput, error) {
	if err := refuseUnmodeled(in, "UserName", "MaxItems", "Marker"); err != nil {
		return nil, err
	}
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	page, err := paginateIAM(c, found.showAttachedPolicies(), in.MaxItems, in.Marker)
	return &iam.ListAttachedUserPoliciesOutput{
		AttachedPolicies: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}

func (w *World) listRoleTags(c *Call, in *iam.ListRoleTagsInput) (*iam.ListRoleTagsOutput, error) {
	found, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	page, err := paginateIAM(c, formatIAMTags(found.tags), in.MaxItems, in.Marker)
	return &iam.ListRoleTagsOutput{Tags: page.items, Marker: page.marker, IsTruncated: page.truncated}, err
}

func (w *World) listAccessKeys(c *Call, in *iam.ListAccessKeysInput) (*iam.ListAccessKeysOutput, error) {
	found, err := w.authorizeUser(c, in.UserName)
	if err != nil {
		return nil, err
	}
	page, err := paginateIAM(c, found.accessKeys, in.MaxItems, in.Marker)
	return &iam.ListAccessKeysOutput{
		AccessKeyMetadata: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}

// showPolicy returns a managed policy with the number of its attachments.
func (a *account) showPolicy(p *managedPolicy) iamtypes.Policy {
	attached, boundaries := int32(0), int32(0)
	count := func(h *iamPrincipal) {
		if slices.ContainsFunc(h.attachedPolicies, func(one *managedPolicy) bool { return *one.Arn == *p.Arn }) {
			attached++
		}
		if h.permissionsBoundary != nil && *h.permissionsBoundary.Arn == *p.Arn {
			boundaries++
		}
	}

	for _, one := range a.roles.all {
		count(&one.iamPrincipal)
	}
	for _, one := range a.users.all {
		count(&one.iamPrincipal)
	}

	view := p.Policy
	view.AttachmentCount, view.PermissionsBoundaryUsageCount = &attached, &boundaries
	return view
}

// listPolicies returns the customer managed policies. The simulator models one policy of AWS, which is listed as well.
func (w *World) listPolicies(c *Call, in *iam.ListPoliciesInput) (*iam.ListPoliciesOutput, error) {
	if err := refuseUnmodeled(in, "MaxItems", "Marker", "OnlyAttached", "PathPrefix", "Scope"); err != nil {
		return nil, err
	}
	if err := w.authorizeList(c, "policy"); err != nil {
		return nil, err
	}

	account := c.caller.account
	var all []iamtypes.Policy
	if in.Scope != iamtypes.PolicyScopeTypeLocal {
		all = append(all, account.showPolicy(account.administratorAccess()))
	}
	for _, found := range account.policies.all {
		if in.Scope != iamtypes.PolicyScopeTypeAws {
			all = append(all, account.showPolicy(found))
		}
	}

	all = slices.DeleteFunc(all, func(p iamtypes.Policy) bool {
		return !isBelowIAMPath(aws.ToString(p.Path), in.PathPrefix) || in.OnlyAttached && *p.AttachmentCount == 0
	})
	page, err := paginateIAM(c, all, in.MaxItems, in.Marker)
	return &iam.ListPoliciesOutput{Policies: page.items, Marker: page.marker, IsTruncated: page.truncated}, err
}

// authorizePolicy authorizes a call on a managed policy and returns the policy.
func (w *World) authorizePolicy(c *Call, arn *string) (*managedPolicy, error) {
	if err := w.authorize(c, AuthorizationRequest{
		Action: "iam:" + c.Operation, Resource: aws.ToString(arn),
	}); err != nil {
		return nil, err
	}

	found, err := w.findManagedPolicy(c, aws.String(aws.ToString(arn)))
	if hasErrorCode(err, "NoSuchEntity") {
		return nil, newAPIError(http.StatusNotFound, "NoSuchEntity", "Policy %s was not found.", *arn)
	}
	return found, err
}

func (w *World) getPolicy(c *Call, in *iam.GetPolicyInput) (*iam.GetPolicyOutput, error) {
	found, err := w.authorizePolicy(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	view := c.caller.account.showPolicy(found)
	return &iam.GetPolicyOutput{Policy: &view}, nil
}

// getPolicyVersion returns the only version of a managed policy. The simulator models no others.
func (w *World) getPolicyVersion(c *Call, in *iam.GetPolicyVersionInput) (*iam.GetPolicyVersionOutput, error) {
	found, err := w.authorizePolicy(c, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	if version := aws.ToString(in.VersionId); version != "v1" {
		return nil, newAPIError(
			http.StatusNotFound, "NoSuchEntity", "Policy %s version %s does not exist or is not attachable.", *found.Arn,
			strconv.Quote(version),
		)
	}

	return &iam.GetPolicyVersionOutput{PolicyVersion: &iamtypes.PolicyVersion{
		CreateDate:       found.CreateDate,
		Document:         encodeDocument(found.text),
		IsDefaultVersion: true,
		VersionId:        in.VersionId,
	}}, nil
}

func (w *World) listInstanceProfiles(
	c *Call, in *iam.ListInstanceProfilesInput,
) (*iam.ListInstanceProfilesOutput, error) {
	if err := w.authorizeList(c, "instance-profile"); err != nil {
		return nil, err
	}

	var all []iamtypes.InstanceProfile
	for _, found := range c.caller.account.profiles.all {
		if isBelowIAMPath(*found.Path, in.PathPrefix) {
			all = append(all, *showProfile(found))
		}
	}
	page, err := paginateIAM(c, all, in.MaxItems, in.Marker)
	return &iam.ListInstanceProfilesOutput{
		InstanceProfiles: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}

func (w *World) listInstanceProfilesForRole(
	c *Call, in *iam.ListInstanceProfilesForRoleInput,
) (*iam.ListInstanceProfilesForRoleOutput, error) {
	role, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}

	var all []iamtypes.InstanceProfile
	for _, found := range c.caller.account.profiles.all {
		if found.role == role {
			all = append(all, *showProfile(found))
		}
	}
	page, err := paginateIAM(c, all, in.MaxItems, in.Marker)
	return &iam.ListInstanceProfilesForRoleOutput{
		InstanceProfiles: page.items, Marker: page.marker, IsTruncated: page.truncated,
	}, err
}
