// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

var iamOperations = []namedOperation{
	newOperation((*World).createRole),
	newOperation((*World).getRole),
	newOperation((*World).updateRole),
	newOperation((*World).deleteRole),
	newOperation((*World).updateAssumeRolePolicy),
	newOperation((*World).putRolePolicy),
	newOperation((*World).getRolePolicy),
	newOperation((*World).deleteRolePolicy),
	newOperation((*World).attachRolePolicy),
	newOperation((*World).detachRolePolicy),
	newOperation((*World).putRolePermissionsBoundary),
	newOperation((*World).deleteRolePermissionsBoundary),
	newOperation((*World).createServiceLinkedRole),
	newOperation((*World).deleteServiceLinkedRole),
	newOperation((*World).createPolicy),
	newOperation((*World).createUser),
	newOperation((*World).getUser),
	newOperation((*World).putUserPolicy),
	newOperation((*World).getUserPolicy),
	newOperation((*World).deleteUserPolicy),
	newOperation((*World).attachUserPolicy),
	newOperation((*World).putUserPermissionsBoundary),
	newOperation((*World).createAccessKey),
	newOperation((*World).deleteAccessKey),
	newOperation((*World).createInstanceProfile),
	newOperation((*World).getInstanceProfile),
	newOperation((*World).addRoleToInstanceProfile),
}

var (
	iamNamePattern = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	iamPathPattern = regexp.MustCompile(`^/([!-~]+/)?$`)
)

const iamNameConstraint = `Member must satisfy regular expression pattern: [\w+=,.@-]+`

func noSuchEntity(kind, name string) *APIError {
	return newAPIError(http.StatusNotFound, "NoSuchEntity", "The %s with name %s cannot be found.", kind, name)
}

func entityExists(kind, name string) *APIError {
	return newAPIError(http.StatusConflict, "EntityAlreadyExists", "%s with name %s already exists.", kind, name)
}

func parseIAMTags(tags []iamtypes.Tag) map[string]string {
	return parseTags(tags, func(t iamtypes.Tag) (string, string) { return aws.ToString(t.Key), aws.ToString(t.Value) })
}

func formatIAMTags(tags map[string]string) (view []iamtypes.Tag) {
	for _, key := range sortedKeys(tags) {
		view = append(view, iamtypes.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return view
}

// newPrincipal creates the common part of a user or role.
func (w *World) newPrincipal(c *Call, prefix, kind string, name, path *string, tags []iamtypes.Tag) iamPrincipal {
	where := aws.ToString(path)
	if where == "" {
		where = "/"
	}

	return iamPrincipal{
		account:        c.caller.account,
		path:           where,
		name:           *name,
		created:        c.At,
		tags:           parseIAMTags(tags),
		inlinePolicies: newOrderedMap[*policyDocument](),
		arn:            c.caller.account.arn("iam", "", kind+where+*name),
		id:             prefix + w.randomText(17, "principal", c.caller.account.number, kind, *name),
	}
}

// validateNewPrincipal checks the name and path of a new user or role.
func validateNewPrincipal(c *Call, member string, name, path *string) error {
	switch {
	case !matchesPattern(name, iamNamePattern):
		return validationError(c, member, name, iamNameConstraint)
	case path != nil && !iamPathPattern.MatchString(*path):
		return validationError(c, "Path", path, `Member must satisfy regular expression pattern: (/)|(/[!-~]+/)`)
	}
	return nil
}

func (w *World) parseIAMPolicy(c *Call, text *string, kind iampolicy.Kind) (*policyDocument, error) {
	created, err := parsePolicy(aws.ToString(text), kind)
	if err != nil {
		if w.violates(c, "B.9.3", !json.Valid([]byte(aws.ToString(text)))) {
			return nil, badRequest("MalformedPolicyDocument", "This policy contains invalid Json")
		}
		return nil, badRequest("MalformedPolicyDocument", "Syntax errors in policy. (%v)", err)
	}
	return created, nil
}

// parseTrustPolicy parses a trust policy. All principals in it must exist.
func (w *World) parseTrustPolicy(c *Call, text *string) (*policyDocument, error) {
	created, err := w.parseIAMPolicy(c, text, iampolicy.Trust)
	if err != nil {
		return nil, err
	}
	for _, name := range listPrincipals(created.text) {
		if !w.principalExists(name) {
			return nil, badRequest("MalformedPolicyDocument", `Invalid principal in policy: "AWS":"%s"`, name)
		}
	}
	return created, nil
}

func showRole(r *role) *iamtypes.Role {
	view := &iamtypes.Role{
		Arn:                      aws.String(r.arn),
		CreateDate:               aws.Time(r.created),
		Path:                     aws.String(r.path),
		RoleId:                   aws.String(r.id),
		RoleName:                 aws.String(r.name),
		AssumeRolePolicyDocument: encodeDocument(r.trustPolicy.text),
		Description:              r.description,
		MaxSessionDuration:       aws.Int32(int32(r.maxSessionDuration.Seconds())),
		Tags:                     formatIAMTags(r.tags),
	}

	if r.permissionsBoundary != nil {
		view.PermissionsBoundary = showBoundary(r.permissionsBoundary)
	}

	return view
}

// encodeDocument returns a policy document as IAM sends it: percent-encoded (RFC 3986), with %20 for a space.
func encodeDocument(text string) *string {
	return aws.String(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
}

func showBoundary(p *managedPolicy) *iamtypes.AttachedPermissionsBoundary {
	return &iamtypes.AttachedPermissionsBoundary{
		PermissionsBoundaryArn: p.Arn, PermissionsBoundaryType: "Policy", // the SDK's value is not what AWS sends
	}
}

// maxRoleDescription is the maximum length of a role's description in characters.
const maxRoleDescription = 1000

// validateRoleLimits checks the description and the maximum session duration of a role.
func (w *World) validateRoleLimits(c *Call, description *string, duration *int32) error {
	if err := validateLength(c, "Description", description, 0, maxRoleDescription); w.violates(c, "B.9.4", err != nil) {
		return err
	}
	if err := validateRange(c, "MaxSessionDuration", duration, 3600, 43200); w.violates(c, "5.1", err != nil) {
		return err
	}
	return nil
}

func (w *World) createRole(c *Call, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	if err := validateNewPrincipal(c, "RoleName", in.RoleName, in.Path); err != nil {
		return nil, err
	}

	longest := time.Duration(aws.ToInt32(in.MaxSessionDuration)) * time.Second
	if in.MaxSessionDuration == nil {
		longest = time.Hour
	}

	if err := w.validateRoleLimits(c, in.Description, in.MaxSessionDuration); err != nil {
		return nil, err
	}

	created := &role{
		iamPrincipal: w.newPrincipal(c, "AROA", "role", in.RoleName, in.Path, in.Tags), description: in.Description,
		maxSessionDuration: longest,
	}

	err := w.authorize(c, AuthorizationRequest{
		Action: "iam:CreateRole", Resource: created.arn, Context: requestTagContext(created.tags),
	})
	if err != nil {
		return nil, err
	}
	if _, taken := created.account.roles.get(iamKey(created.name)); taken {
		return nil, entityExists("Role", created.name)
	}
	if created.trustPolicy, err = w.parseTrustPolicy(c, in.AssumeRolePolicyDocument); err != nil {
		return nil, err
	}
	if created.permissionsBoundary, err = w.findManagedPolicy(c, in.PermissionsBoundary); err != nil {
		return nil, err
	}

	created.account.roles.put(iamKey(created.name), created)
	c.recordChange(created.arn)
	view := showRole(created)
	view.MaxSessionDuration = nil // CreateRole does not show it
	return &iam.CreateRoleOutput{Role: view}, nil
}

// authorizeRole authorizes an operation on a role of the caller's account and returns the role.
func (w *World) authorizeRole(c *Call, name *string) (*role, error) {
	if !matchesPattern(name, iamNamePattern) {
		return nil, validationError(c, "RoleName", name, iamNameConstraint)
	}

	found, ok := c.caller.account.roles.get(iamKey(*name))
	arn := c.caller.account.arn("iam", "", "role/"+*name)
	if ok {
		arn = found.arn
	}
	if err := w.authorize(c, AuthorizationRequest{Action: "iam:" + c.Operation, Resource: arn}); err != nil {
		return nil, err
	}
	if !ok {
		return nil, noSuchEntity("role", *name)
	}

	return found, nil
}

// authorizeRoleChange authorizes an operation that changes a role of the caller's account, and returns the role. It
// refuses to change a service-linked role (rule 8.1).
func (w *World) authorizeRoleChange(c *Call, name *string) (*role, error) {
	found, err := w.authorizeRole(c, name)
	if err == nil && w.violates(c, "8.1", found.isServiceLinked()) {
		return nil, badRequest(
			"UnmodifiableEntity",
			"Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", found.name,
		)
	}
	return found, err
}

func (w *World) getRole(c *Call, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	found, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	view := showRole(found)
	view.RoleLastUsed = &iamtypes.RoleLastUsed{} // no role was ever used
	return &iam.GetRoleOutput{Role: view}, nil
}

func (w *World) updateRole(c *Call, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	longest := time.Duration(aws.ToInt32(in.MaxSessionDuration)) * time.Second
	if err := w.validateRoleLimits(c, in.Description, in.MaxSessionDuration); err != nil {
		return nil, err
	}

	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if in.MaxSessionDuration != nil {
		found.maxSessionDuration = longest
	}
	if in.Description != nil {
		found.description = in.Description
	}

	c.recordChange(found.arn)
	return &iam.UpdateRoleOutput{}, nil
}

func (w *World) deleteRole(c *Call, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if len(found.inlinePolicies.keys) > 0 {
		return nil, newAPIError(http.StatusConflict, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	if len(found.attachedPolicies) > 0 {
		return nil, newAPIError(
			http.StatusConflict, "DeleteConflict", "Cannot delete entity, must detach all policies first.",
		)
	}

	for _, profile := range found.account.profiles.all {
		if profile.role == found {
			return nil, newAPIError(
				http.StatusConflict, "DeleteConflict", "Cannot delete entity, must remove roles from instance profile first.",
			)
		}
	}

	c.recordChange(found.arn)
	found.account.roles.remove(iamKey(found.name))
	w.replaceARNsByID(&found.iamPrincipal)
	return &iam.DeleteRoleOutput{}, nil
}

func (w *World) updateAssumeRolePolicy(
	c *Call, in *iam.UpdateAssumeRolePolicyInput,
) (*iam.UpdateAssumeRolePolicyOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}

	trust, err := w.parseTrustPolicy(c, in.PolicyDocument)
	if err != nil {
		return nil, err
	}

	found.trustPolicy = trust
	c.recordChange(found.arn)
	return &iam.UpdateAssumeRolePolicyOutput{}, nil
}

// serviceLinkedRoles maps services to the name and the actions of their service-linked role. No role allows KMS actions
// (rule 8.1).
var serviceLinkedRoles = map[string]struct{ name, actions string }{
	"autoscaling.amazonaws.com": {
		"AWSServiceRoleForAutoScaling",
		`"ec2:CreateFleet","ec2:CreateTags","ec2:DeleteTags","ec2:Describe*",` +
			`"ec2:GetInstanceTypesFromInstanceRequirements","ec2:ModifyInstanceAttribute","ec2:RunInstances",` +
			`"ec2:StartInstances","ec2:StopInstances",` +
			`"ec2:TerminateInstances","ssm:GetParameters"`,
	},
	"spot.amazonaws.com": {
		"AWSServiceRoleForEC2Spot",
		`"ec2:CreateTags","ec2:Describe*","ec2:RunInstances","ec2:StartInstances","ec2:StopInstances"`,
	},
}

func (w *World) createServiceLinkedRole(
	c *Call, in *iam.CreateServiceLinkedRoleInput,
) (*iam.CreateServiceLinkedRoleOutput, error) {
	service := aws.ToString(in.AWSServiceName)
	linked, known := serviceLinkedRoles[service]
	name := linked.name
	if in.CustomSuffix != nil {
		name += "_" + *in.CustomSuffix
	}

	created := &role{
		service:            service,
		description:        in.Description,
		maxSessionDuration: time.Hour,
		iamPrincipal:       w.newPrincipal(c, "AROA", "role", &name, aws.String("/aws-service-role/"+service+"/"), nil),
		trustPolicy: mustParsePolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"`+
			service+`"},"Action":"sts:AssumeRole"}]}`,
			iampolicy.Trust),
	}

	request := AuthorizationRequest{
		Action: "iam:CreateServiceLinkedRole", Resource: created.arn,
		Context: iampolicy.Context{"iam:AWSServiceName": {service}},
	}

	if err := w.authorize(c, request); err != nil {
		return nil, err
	}
	if !known {
		return nil, newAPIError(
			http.StatusNotFound, "AccessDenied", "Cannot find Service Linked Role template for %s", service,
		)
	}
	if in.CustomSuffix != nil && service != "autoscaling.amazonaws.com" {
		return nil, badRequest("InvalidInput", "Custom suffix is not allowed for %s", service)
	}
	if _, taken := created.account.roles.get(iamKey(name)); taken {
		return nil, badRequest(
			"InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name,
		)
	}

	may := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[` + linked.actions + `],"Resource":"*"}]}`
	inline := mustParsePolicy(may, iampolicy.Identity)
	inline.name = name
	created.inlinePolicies.put(iamKey(name), inline)
	created.account.roles.put(iamKey(name), created)
	c.recordChange(created.arn)
	return &iam.CreateServiceLinkedRoleOutput{Role: showRole(created)}, nil
}

// deleteServiceLinkedRole deletes the role at once. AWS asks the service first.
func (w *World) deleteServiceLinkedRole(
	c *Call, in *iam.DeleteServiceLinkedRoleInput,
) (*iam.DeleteServiceLinkedRoleOutput, error) {
	found, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if !found.isServiceLinked() {
		return nil, badRequest("InvalidInput", "%s is not a service-linked role.", found.name)
	}

	c.recordChange(found.arn)
	found.account.roles.remove(iamKey(found.name))
	w.replaceARNsByID(&found.iamPrincipal)
	task := "task" + found.path + found.name + "/" + w.randomUUID("deletion", found.id)
	return &iam.DeleteServiceLinkedRoleOutput{DeletionTaskId: &task}, nil
}
