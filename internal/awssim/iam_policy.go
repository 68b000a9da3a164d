// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// administratorAccessPolicy is the only AWS managed policy that the simulator models.
const administratorAccessPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*",` +
	`"Resource":"*"}]}`

// findManagedPolicy returns a managed policy that the caller's account can attach. Nil if arn is nil.
func (w *World) findManagedPolicy(c *Call, arn *string) (*managedPolicy, error) {
	if arn == nil {
		return nil, nil
	}
	if managed := c.caller.account.administratorAccess(); *arn == *managed.Arn {
		return managed, nil
	}

	if w.violates(c, "B.9.5", !strings.HasPrefix(*arn, "arn:")) {
		return nil, badRequest("ValidationError", "Invalid ARN:  Could not be parsed!")
	}

	found, ok := c.caller.account.policies.get(*arn)
	if !ok {
		return nil, newAPIError(http.StatusNotFound, "NoSuchEntity", "Policy %s does not exist or is not attachable.", *arn)
	}

	return found, nil
}

// administratorAccess returns the AWS managed policy AdministratorAccess.
func (a *account) administratorAccess() *managedPolicy {
	created := time.Date(2015, time.February, 6, 18, 39, 46, 0, time.UTC)
	return &managedPolicy{
		iamtypes.Policy{
			Arn:              aws.String("arn:" + a.partition + ":iam::aws:policy/AdministratorAccess"),
			PolicyName:       aws.String("AdministratorAccess"),
			PolicyId:         aws.String("ANPAIWMBCKSKIEE64ZLYK"),
			Path:             aws.String("/"),
			DefaultVersionId: aws.String("v1"),
			IsAttachable:     true,
			CreateDate:       &created,
			UpdateDate:       &created,
		},
		mustParsePolicy(administratorAccessPolicy, iampolicy.Identity),
	}
}

func (w *World) createPolicy(c *Call, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	if err := refuseUnmodeled(in, "PolicyName", "PolicyDocument", "Path", "Description"); err != nil {
		return nil, err
	}
	if err := validateNewPrincipal(c, "PolicyName", in.PolicyName, in.Path); err != nil {
		return nil, err
	}

	path := aws.ToString(in.Path)
	if path == "" {
		path = "/"
	}

	arn := c.caller.account.arn("iam", "", "policy"+path+*in.PolicyName)
	if err := w.authorize(c, AuthorizationRequest{Action: "iam:CreatePolicy", Resource: arn}); err != nil {
		return nil, err
	}

	text, err := w.parseIAMPolicy(c, in.PolicyDocument, iampolicy.Identity)
	if err != nil {
		return nil, err
	}
	if c.caller.account.hasPolicy(*in.PolicyName) {
		return nil, newAPIError(
			http.StatusConflict, "EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.",
			*in.PolicyName,
		)
	}

	created := &managedPolicy{policyDocument: text, Policy: iamtypes.Policy{
		Arn:              aws.String(arn),
		PolicyName:       in.PolicyName,
		Path:             aws.String(path),
		CreateDate:       aws.Time(c.At),
		UpdateDate:       aws.Time(c.At),
		PolicyId:         aws.String("ANPA" + w.randomText(17, "policy", arn)),
		DefaultVersionId: aws.String("v1"),
		IsAttachable:     true,
		// Counted when the policy is shown.
		AttachmentCount:               aws.Int32(0),
		PermissionsBoundaryUsageCount: aws.Int32(0),
		Description:                   in.Description,
	}}

	c.caller.account.policies.put(arn, created)
	c.recordChange(arn)
	return &iam.CreatePolicyOutput{Policy: &created.Policy}, nil
}

// hasPolicy reports whether the account has a customer managed policy with a name.
func (a *account) hasPolicy(name string) bool {
	for _, p := range a.policies.all {
		if strings.EqualFold(*p.PolicyName, name) {
			return true
		}
	}
	return false
}

// putInlinePolicy sets an inline policy of a user or role.
func (w *World) putInlinePolicy(c *Call, h *iamPrincipal, name, text *string) error {
	if !matchesPattern(name, iamNamePattern) {
		return validationError(c, "PolicyName", name, iamNameConstraint)
	}
	created, err := w.parseIAMPolicy(c, text, iampolicy.Identity)
	if err != nil {
		return err
	}
	created.name = *name
	h.inlinePolicies.put(iamKey(*name), created)
	c.recordChange(h.arn)
	return nil
}

func deleteInlinePolicy(c *Call, h *iamPrincipal, name *string) error {
	if _, ok := h.inlinePolicies.get(iamKey(aws.ToString(name))); !ok {
		return noSuchEntity("policy", aws.ToString(name))
	}
	h.inlinePolicies.remove(iamKey(*name))
	c.recordChange(h.arn)
	return nil
}

func (w *World) attachManagedPolicy(c *Call, h *iamPrincipal, arn *string) error {
	found, err := w.findManagedPolicy(c, aws.String(aws.ToString(arn)))
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(h.attachedPolicies, func(p *managedPolicy) bool { return *p.Arn == *found.Arn }) {
		h.attachedPolicies = append(h.attachedPolicies, found)
	}
	c.recordChange(h.arn)
	return nil
}

func (w *World) putRolePolicy(c *Call, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.PutRolePolicyOutput{}, w.putInlinePolicy(c, &found.iamPrincipal, in.PolicyName, in.PolicyDocument)
}

func (w *World) getRolePolicy(c *Call, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	found, err := w.authorizeRole(c, in.RoleName)
	if err != nil {
		return nil, err
	}

	text, ok := found.inlinePolicies.get(iamKey(aws.ToString(in.PolicyName)))
	if !ok {
		return nil, newAPIError(
			http.StatusNotFound, "NoSuchEntity", "The role policy with name %s cannot be found.", aws.ToString(in.PolicyName),
		)
	}

	return &iam.GetRolePolicyOutput{
		RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: encodeDocument(text.text),
	}, nil
}

func (w *World) deleteRolePolicy(c *Call, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.DeleteRolePolicyOutput{}, deleteInlinePolicy(c, &found.iamPrincipal, in.PolicyName)
}

func (w *World) attachRolePolicy(c *Call, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.AttachRolePolicyOutput{}, w.attachManagedPolicy(c, &found.iamPrincipal, in.PolicyArn)
}

func (w *World) detachRolePolicy(c *Call, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}

	at := slices.IndexFunc(found.attachedPolicies, func(p *managedPolicy) bool {
		return *p.Arn == aws.ToString(in.PolicyArn)
	})
	if at < 0 {
		return nil, newAPIError(http.StatusNotFound, "NoSuchEntity", "Policy %s was not found.", aws.ToString(in.PolicyArn))
	}

	found.attachedPolicies = slices.Delete(found.attachedPolicies, at, at+1)
	c.recordChange(found.arn)
	return &iam.DetachRolePolicyOutput{}, nil
}

func (w *World) putRolePermissionsBoundary(
	c *Call, in *iam.PutRolePermissionsBoundaryInput,
) (*iam.PutRolePermissionsBoundaryOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}

	boundary, err := w.findManagedPolicy(c, aws.String(aws.ToString(in.PermissionsBoundary)))
	if err != nil {
		return nil, err
	}

	found.permissionsBoundary = boundary
	c.recordChange(found.arn)
	return &iam.PutRolePermissionsBoundaryOutput{}, nil
}

func (w *World) deleteRolePermissionsBoundary(
	c *Call, in *iam.DeleteRolePermissionsBoundaryInput,
) (*iam.DeleteRolePermissionsBoundaryOutput, error) {
	found, err := w.authorizeRoleChange(c, in.RoleName)
	if err != nil {
		return nil, err
	}
	if w.violates(c, "B.9.6", found.permissionsBoundary == nil) {
		return nil, newAPIError(
			http.StatusNotFound, "NoSuchEntity", "The role with name %s has no permissions boundary.", found.name,
		)
	}
	found.permissionsBoundary = nil
	c.recordChange(found.arn)
	return &iam.DeleteRolePermissionsBoundaryOutput{}, nil
}
